//! The life of one worker as a state machine: scenarios, and random lives against a small world of
//! one process and one channel. No process is started; time is a number.

mod world;

use std::time::Duration;

use dishrack_core::ledger::{Backoff, Exit};
use dishrack_core::pool::child::{Child, ChildEffect, ChildEvent, Phase};
use dishrack_core::pool::restart::Window;
use dishrack_core::pool::spec::{ChildSpec, Restart};
use proptest::prelude::*;
use world::every_life_in_a_faithful_world_keeps_the_rules;

crate::trials! {
    a_boot_beyond_its_deadline_is_killed,
    a_ready_worker_has_no_deadline,
    a_death_with_a_charged_item_restarts_at_once,
    a_death_while_idle_rests_before_the_restart,
    one_idle_death_more_than_the_intensity_gives_up,
    charged_deaths_never_use_up_the_intensity,
    a_start_failure_counts_as_a_death_in_boot,
    a_permanent_worker_restarts_after_success,
    a_transient_worker_restarts_after_failure_only,
    a_temporary_worker_is_never_restarted,
    a_stop_within_its_grace_finishes_without_a_kill,
    a_stop_beyond_its_grace_kills,
    a_recycled_worker_is_started_again_uncounted,
    a_recycled_worker_has_the_time_it_needs,
    a_drained_worker_has_the_time_it_needs_and_stays_down,
    a_loop_that_ended_before_it_could_be_recycled_is_started_again,
    a_worker_whose_end_is_excused_is_started_again_uncounted,
    a_stop_while_booting_kills,
    a_stop_before_the_first_start_finishes,
    a_stop_while_resting_finishes,
    a_kill_while_resting_finishes,
    a_kill_while_stopping_kills,
    a_process_whose_channel_has_ended_is_killed_at_once,
    a_channel_that_outlives_its_process_is_concluded_after_a_second,
    a_late_end_of_the_channel_concludes_nobody_twice,
    a_worker_that_is_over_stays_over,
    a_deadline_that_has_not_come_does_nothing,
    no_order_of_events_breaks_the_rules,
    every_life_in_a_faithful_world_keeps_the_rules,
    the_window_counts_what_is_within_the_period,
}

const KILLED: Exit = Exit::Signaled(9);
const SUCCESS: Exit = Exit::Exited(0);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn spec() -> ChildSpec {
    ChildSpec {
        restart: Restart::Permanent,
        intensity: 2,
        period: ms(10_000),
        shutdown: ms(5_000),
        boot_deadline: ms(30_000),
        backoff: Backoff::exponential(ms(100), ms(1_000)),
    }
}

fn restarted(restart: Restart) -> ChildSpec {
    ChildSpec { restart, ..spec() }
}

fn booting(spec: ChildSpec) -> Child {
    let mut child = Child::new(spec, 7);
    assert_eq!(
        child.handle(ChildEvent::Begin, ms(0)),
        Some(ChildEffect::Start)
    );
    assert_eq!(child.phase(), Phase::Booting);
    child
}

fn working(spec: ChildSpec) -> Child {
    let mut child = booting(spec);
    assert_eq!(child.handle(ChildEvent::Ready, ms(1)), None);
    assert_eq!(child.phase(), Phase::Working);
    child
}

/// Ends both sides; the conclusion charges this many items.
fn die(child: &mut Child, exit: Exit, charged: usize, now: Duration) -> Option<ChildEffect> {
    assert_eq!(child.handle(ChildEvent::Ended, now), None);
    assert_eq!(
        child.handle(ChildEvent::LinkClosed, now),
        Some(ChildEffect::Conclude)
    );
    child.handle(ChildEvent::Concluded { exit, charged }, now)
}

fn a_boot_beyond_its_deadline_is_killed() {
    let mut child = booting(spec());
    assert_eq!(child.poll_timeout(), Some(ms(30_000)));
    let effect = child.handle(ChildEvent::DeadlinePassed, ms(30_000));
    assert_eq!(
        (effect, child.phase()),
        (Some(ChildEffect::Kill), Phase::Dying),
        "{child:?}"
    );
    assert_eq!(die(&mut child, KILLED, 0, ms(30_001)), None);
    assert_eq!(child.phase(), Phase::Resting);
}

fn a_ready_worker_has_no_deadline() {
    assert_eq!(working(spec()).poll_timeout(), None);
}

fn a_death_with_a_charged_item_restarts_at_once() {
    let mut child = working(spec());
    assert_eq!(die(&mut child, KILLED, 1, ms(10)), Some(ChildEffect::Start));
    assert_eq!(child.phase(), Phase::Booting);
}

fn a_death_while_idle_rests_before_the_restart() {
    let mut child = working(spec());
    assert_eq!(die(&mut child, KILLED, 0, ms(10)), None);
    assert_eq!(child.phase(), Phase::Resting);
    let wake = child.poll_timeout().expect("it rests for a time");
    assert!(wake >= ms(60) && wake <= ms(110), "{wake:?}");
    let effect = child.handle(ChildEvent::DeadlinePassed, wake);
    assert_eq!(effect, Some(ChildEffect::Start));
}

/// Lets a resting worker begin again and die at once.
fn rest_and_die(child: &mut Child) -> Option<ChildEffect> {
    let wake = child.poll_timeout().expect("it rests for a time");
    assert_eq!(
        child.handle(ChildEvent::DeadlinePassed, wake),
        Some(ChildEffect::Start)
    );
    die(child, KILLED, 0, wake)
}

fn one_idle_death_more_than_the_intensity_gives_up() {
    let mut child = working(spec());
    assert_eq!(die(&mut child, KILLED, 0, ms(10)), None);
    assert_eq!(rest_and_die(&mut child), None);
    assert_eq!(rest_and_die(&mut child), Some(ChildEffect::GiveUp));
    assert_eq!(child.phase(), Phase::Over);
    assert_eq!(child.poll_timeout(), None);
}

fn charged_deaths_never_use_up_the_intensity() {
    let mut child = working(ChildSpec {
        intensity: 0,
        ..spec()
    });
    for _ in 0..100 {
        assert_eq!(die(&mut child, KILLED, 1, ms(10)), Some(ChildEffect::Start));
    }
    assert_eq!(
        die(&mut child, KILLED, 0, ms(11)),
        Some(ChildEffect::GiveUp)
    );
}

fn a_start_failure_counts_as_a_death_in_boot() {
    let mut child = booting(spec());
    assert_eq!(child.handle(ChildEvent::StartFailed, ms(1)), None);
    assert_eq!(child.phase(), Phase::Resting);
    assert_eq!(rest_and_die(&mut child), None);
    let wake = child.poll_timeout().expect("it rests for a time");
    let _ = child.handle(ChildEvent::DeadlinePassed, wake);
    let effect = child.handle(ChildEvent::StartFailed, wake);
    assert_eq!(effect, Some(ChildEffect::GiveUp));
}

fn a_permanent_worker_restarts_after_success() {
    let mut child = working(restarted(Restart::Permanent));
    assert_eq!(die(&mut child, SUCCESS, 0, ms(10)), None);
    assert_eq!(child.phase(), Phase::Resting);
}

fn a_transient_worker_restarts_after_failure_only() {
    for exit in [KILLED, Exit::Exited(1), Exit::Unknown] {
        let mut child = working(restarted(Restart::Transient));
        assert_eq!(die(&mut child, exit, 0, ms(10)), None);
        assert_eq!(child.phase(), Phase::Resting, "{exit}");
    }
    let mut child = working(restarted(Restart::Transient));
    assert_eq!(
        die(&mut child, SUCCESS, 0, ms(10)),
        Some(ChildEffect::Finish)
    );
    assert_eq!(child.phase(), Phase::Over);
}

fn a_temporary_worker_is_never_restarted() {
    for (exit, charged) in [(SUCCESS, 0), (KILLED, 0), (KILLED, 1)] {
        let mut child = working(restarted(Restart::Temporary));
        let effect = die(&mut child, exit, charged, ms(10));
        assert_eq!(
            effect,
            Some(ChildEffect::Finish),
            "{exit}, {charged} charged"
        );
    }
}

fn a_stop_within_its_grace_finishes_without_a_kill() {
    let mut child = working(spec());
    let effect = child.handle(ChildEvent::StopAsked, ms(10));
    assert_eq!(effect, Some(ChildEffect::AskToStop));
    assert_eq!(child.poll_timeout(), Some(ms(5_010)));
    assert_eq!(
        die(&mut child, SUCCESS, 0, ms(4_000)),
        Some(ChildEffect::Finish),
        "even a permanent worker stays down when it was asked to stop"
    );
}

fn a_stop_beyond_its_grace_kills() {
    let mut child = working(spec());
    let _ = child.handle(ChildEvent::StopAsked, ms(10));
    let effect = child.handle(ChildEvent::DeadlinePassed, ms(5_010));
    assert_eq!(effect, Some(ChildEffect::Kill));
    assert_eq!(
        die(&mut child, KILLED, 1, ms(5_011)),
        Some(ChildEffect::Finish)
    );
}

fn a_stop_while_booting_kills() {
    let mut child = booting(spec());
    let effect = child.handle(ChildEvent::StopAsked, ms(10));
    assert_eq!(effect, Some(ChildEffect::Kill));
    assert_eq!(child.handle(ChildEvent::Ready, ms(11)), None);
    assert_eq!(child.phase(), Phase::Dying, "it is too late to be ready");
    assert_eq!(
        die(&mut child, KILLED, 0, ms(12)),
        Some(ChildEffect::Finish)
    );
}

fn a_stop_before_the_first_start_finishes() {
    let mut child = Child::new(spec(), 1);
    let effect = child.handle(ChildEvent::StopAsked, ms(0));
    assert_eq!(
        (effect, child.phase()),
        (Some(ChildEffect::Finish), Phase::Over)
    );
}

fn resting() -> Child {
    let mut child = working(spec());
    assert_eq!(die(&mut child, KILLED, 0, ms(10)), None);
    child
}

fn a_recycled_worker_is_started_again_uncounted() {
    let mut child = working(ChildSpec {
        intensity: 0,
        restart: Restart::Transient,
        ..spec()
    });
    let effect = child.handle(ChildEvent::RecycleAsked, ms(10));
    assert_eq!(
        (effect, child.phase()),
        (Some(ChildEffect::AskToStop), Phase::Stopping)
    );
    assert_eq!(
        die(&mut child, SUCCESS, 0, ms(20)),
        Some(ChildEffect::Start)
    );
}

fn a_recycled_worker_has_the_time_it_needs() {
    let mut child = working(spec());
    let _ = child.handle(ChildEvent::RecycleAsked, ms(10));
    assert_eq!(child.poll_timeout(), None);
    // A stop has its grace, as always.
    assert_eq!(child.handle(ChildEvent::StopAsked, ms(1_000)), None);
    assert_eq!(child.poll_timeout(), Some(ms(6_000)));
    let effect = child.handle(ChildEvent::DeadlinePassed, ms(6_000));
    assert_eq!(effect, Some(ChildEffect::Kill));
}

fn a_drained_worker_has_the_time_it_needs_and_stays_down() {
    let mut child = working(spec());
    let effect = child.handle(ChildEvent::DrainAsked, ms(10));
    assert_eq!(effect, Some(ChildEffect::AskToStop));
    assert_eq!(child.poll_timeout(), None);
    let mut stopped = child.clone();
    assert_eq!(
        die(&mut child, SUCCESS, 0, ms(90_000)),
        Some(ChildEffect::Finish)
    );
    // A stop has its grace, as always.
    assert_eq!(stopped.handle(ChildEvent::StopAsked, ms(1_000)), None);
    assert_eq!(stopped.poll_timeout(), Some(ms(6_000)));
}

/// The loop was given nothing more, and its process ended before the order to stop.
fn a_loop_that_ended_before_it_could_be_recycled_is_started_again() {
    let mut child = working(ChildSpec {
        intensity: 0,
        restart: Restart::Transient,
        ..spec()
    });
    assert_eq!(child.handle(ChildEvent::Ended, ms(10)), None);
    assert_eq!(child.handle(ChildEvent::RecycleAsked, ms(11)), None);
    assert_eq!(
        child.handle(ChildEvent::LinkClosed, ms(12)),
        Some(ChildEffect::Conclude)
    );
    let (exit, charged) = (SUCCESS, 0);
    let effect = child.handle(ChildEvent::Concluded { exit, charged }, ms(13));
    assert_eq!(effect, Some(ChildEffect::Start));
}

fn a_worker_whose_end_is_excused_is_started_again_uncounted() {
    let mut child = working(ChildSpec {
        intensity: 0,
        ..spec()
    });
    assert_eq!(child.handle(ChildEvent::Excused, ms(10)), None);
    assert_eq!(die(&mut child, KILLED, 0, ms(20)), Some(ChildEffect::Start));
}

fn a_stop_while_resting_finishes() {
    let mut child = resting();
    let effect = child.handle(ChildEvent::StopAsked, ms(20));
    assert_eq!(effect, Some(ChildEffect::Finish));
    assert_eq!(child.poll_timeout(), None);
}

fn a_kill_while_resting_finishes() {
    let mut child = resting();
    let effect = child.handle(ChildEvent::KillAsked, ms(20));
    assert_eq!(
        (effect, child.phase()),
        (Some(ChildEffect::Finish), Phase::Over)
    );
}

fn a_kill_while_stopping_kills() {
    let mut child = working(spec());
    let _ = child.handle(ChildEvent::StopAsked, ms(10));
    let effect = child.handle(ChildEvent::KillAsked, ms(11));
    assert_eq!(effect, Some(ChildEffect::Kill));
}

fn a_process_whose_channel_has_ended_is_killed_at_once() {
    let mut child = working(spec());
    let effect = child.handle(ChildEvent::LinkClosed, ms(10));
    // The order is repeated after a second, if the process still exists.
    let again = Some(ms(1_010));
    assert_eq!(
        (effect, child.poll_timeout()),
        (Some(ChildEffect::Kill), again)
    );
    let effect = child.handle(ChildEvent::Ended, ms(11));
    assert_eq!(effect, Some(ChildEffect::Conclude));
}

/// Makes a worker whose process ended while its channel stayed open, concluded at 1,010 ms.
fn concluded_with_an_open_channel() -> Child {
    let mut child = working(spec());
    assert_eq!(child.handle(ChildEvent::Ended, ms(10)), None);
    assert_eq!(child.poll_timeout(), Some(ms(1_010)));
    let effect = child.handle(ChildEvent::DeadlinePassed, ms(1_010));
    assert_eq!(effect, Some(ChildEffect::Conclude));
    child
}

fn a_channel_that_outlives_its_process_is_concluded_after_a_second() {
    let mut child = concluded_with_an_open_channel();
    let concluded = ChildEvent::Concluded {
        exit: KILLED,
        charged: 1,
    };
    assert_eq!(child.handle(concluded, ms(1_010)), Some(ChildEffect::Start));
}

fn a_late_end_of_the_channel_concludes_nobody_twice() {
    let mut child = concluded_with_an_open_channel();
    let concluded = ChildEvent::Concluded {
        exit: KILLED,
        charged: 0,
    };
    assert_eq!(child.handle(concluded, ms(1_010)), None);
    let rest = child.poll_timeout();
    assert_eq!(child.handle(ChildEvent::LinkClosed, ms(1_011)), None);
    assert_eq!(
        (child.phase(), child.poll_timeout()),
        (Phase::Resting, rest)
    );
}

fn a_worker_that_is_over_stays_over() {
    for late in [
        ChildEvent::Begin,
        ChildEvent::StartFailed,
        ChildEvent::Ready,
        ChildEvent::LinkClosed,
        ChildEvent::Ended,
        ChildEvent::StopAsked,
        ChildEvent::DrainAsked,
        ChildEvent::KillAsked,
        ChildEvent::DeadlinePassed,
    ] {
        let mut child = Child::new(spec(), 1);
        let _ = child.handle(ChildEvent::StopAsked, ms(0));
        assert_eq!(child.handle(late, ms(99_999)), None, "{late:?}");
        assert_eq!(child.phase(), Phase::Over, "{late:?}");
    }
}

fn a_deadline_that_has_not_come_does_nothing() {
    let mut child = booting(spec());
    let effect = child.handle(ChildEvent::DeadlinePassed, ms(29_999));
    assert_eq!((effect, child.phase()), (None, Phase::Booting));
    assert_eq!(child.poll_timeout(), Some(ms(30_000)));
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        (0..3).prop_map(Exit::Exited),
        (1..16).prop_map(Exit::Signaled),
        Just(Exit::Unknown),
    ]
}

fn any_spec() -> impl Strategy<Value = ChildSpec> {
    let restart = prop::sample::select(vec![
        Restart::Permanent,
        Restart::Transient,
        Restart::Temporary,
    ]);
    (restart, 0..5_u32).prop_map(|(restart, intensity)| ChildSpec {
        restart,
        intensity,
        ..spec()
    })
}

fn any_event() -> impl Strategy<Value = ChildEvent> {
    prop_oneof![
        Just(ChildEvent::Begin),
        Just(ChildEvent::StartFailed),
        Just(ChildEvent::Ready),
        Just(ChildEvent::LinkClosed),
        Just(ChildEvent::Ended),
        (exit(), 0..3_usize).prop_map(|(exit, charged)| ChildEvent::Concluded { exit, charged }),
        Just(ChildEvent::StopAsked),
        Just(ChildEvent::DrainAsked),
        Just(ChildEvent::KillAsked),
        Just(ChildEvent::DeadlinePassed),
    ]
}

/// Returns `true` if the machine may give this answer to this event.
fn may_answer(effect: ChildEffect, event: ChildEvent) -> bool {
    use ChildEvent::{
        Begin, Concluded, DeadlinePassed, DrainAsked, Ended, KillAsked, LinkClosed, StartFailed,
        StopAsked,
    };
    match effect {
        ChildEffect::Start => matches!(event, Begin | Concluded { .. } | DeadlinePassed),
        ChildEffect::AskToStop => matches!(event, StopAsked | DrainAsked),
        ChildEffect::Kill => matches!(
            event,
            StopAsked | DrainAsked | KillAsked | DeadlinePassed | LinkClosed
        ),
        ChildEffect::Conclude => matches!(event, Ended | LinkClosed | DeadlinePassed),
        ChildEffect::Finish => matches!(
            event,
            Concluded { .. } | StartFailed | StopAsked | DrainAsked | KillAsked
        ),
        ChildEffect::GiveUp => matches!(event, Concluded { .. } | StartFailed),
    }
}

/// Events that no world could bring about must not break the machine either.
fn no_order_of_events_breaks_the_rules() {
    let times = prop_oneof![0..3_000_u64, Just(u64::MAX)];
    let lives = prop::collection::vec((any_event(), times), 1..60);
    proptest!(config(2_000), |(spec in any_spec(), life in lives)| {
        let mut child = Child::new(spec, 3);
        let mut now = Duration::ZERO;
        let mut may_be_concluded = false;
        for (event, pause) in life {
            now = now.saturating_add(ms(pause));
            let was_over = child.phase() == Phase::Over;
            let effect = child.handle(event, now);
            prop_assert!(!was_over || (effect.is_none() && child.phase() == Phase::Over));
            prop_assert!(effect.is_none_or(|effect| may_answer(effect, event)));
            prop_assert!(effect != Some(ChildEffect::Conclude) || may_be_concluded, "{event:?}");
            may_be_concluded = effect == Some(ChildEffect::Start) || (may_be_concluded && effect != Some(ChildEffect::Conclude));
        }
    });
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn the_window_counts_what_is_within_the_period() {
    let pauses = prop::collection::vec(0..5_000_u64, 1..60);
    proptest!(config(256), |(pauses in pauses, intensity in 0..6_u32, period in 0..10_000_u64)| {
        let mut window = Window::default();
        let mut stamps = Vec::new();
        let mut now = 0;
        for pause in pauses {
            now += pause;
            stamps.push(now);
            let recent = stamps.iter().filter(|stamp| now - **stamp <= period).count();
            let expected = u32::try_from(recent).ok().filter(|recent| *recent <= intensity);
            prop_assert_eq!(window.note(ms(now), intensity, ms(period)), expected);
        }
    });
}
