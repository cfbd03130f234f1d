//! Counts each kind of event, so that none can silently stop being exercised.

pub(crate) trait Counted: Copy + Default + Send {
    fn add(&mut self, other: &Self);

    /// Returns each kind, and its count.
    fn all(&self) -> Vec<(&'static str, u64)>;
}

macro_rules! coverage {
    ($of:ident: $($name:ident),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct $of {
            $(pub(crate) $name: u64),+
        }

        impl Counted for $of {
            fn add(&mut self, other: &$of) {
                $(self.$name += other.$name;)+
            }

            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

coverage! {
    Coverage:
    steps,
    puts_told,
    puts_refused_full,
    puts_refused_broken,
    puts_together,
    batches_in_parts,
    puts_of_workers_told,
    keys_passed_over,
    cancelled_gets,
    cancelled_puts,
    crossing_answers,
    deliveries,
    deliveries_in_advance,
    deliveries_in_turns,
    deliveries_to_loops,
    deliveries_to_loops_in_advance,
    answered_in_advance,
    taken_back_from_loops,
    deliveries_to_consumers,
    undeliverable,
    done_told,
    done_by_store,
    done_by_loops,
    done_at_once,
    taken_back,
    copies_begun,
    copies_stopped,
    copies_told,
    copies_disagreed,
    wrong_results,
    attempts_without_agreement,
    failures_agreed_on,
    lacks_of_workers,
    retries_told,
    dead_told,
    returned,
    late_words,
    words_of_the_concluded,
    nacks,
    deferred_nacks,
    shortages,
    shortages_over,
    panics,
    time_limits,
    memory_limits,
    memory_kills,
    begun_alone,
    dead_alone,
    keyed_deliveries,
    slotted_deliveries,
    rated_deliveries,
    timed_deliveries,
    deliveries_after_others,
    unique_deliveries,
    puts_refused_for_others,
    duplicates_refused,
    overdue,
    failed_with_others,
    charged_deaths,
    idle_deaths,
    boot_deaths,
    failed_starts,
    lingering_links,
    slots_given_up,
    worn,
    recycled,
    stops,
    pauses_told,
    pauses_with_work,
    scaled,
    scaled_short,
    reloaded,
    reloaded_short,
    left,
    replaced,
    stopped_in_order,
    cancelled_waiting,
    cancelled_leased,
    cancelled_nothing,
    revoked_and_killed,
    revived,
    writes,
    write_failures,
    failed_writes_that_lasted,
    contradictions,
    supervisor_crashes,
    crashes_during_a_write,
    power_failures,
    commits_lost,
    recoveries,
    recovered_items,
    recovered_histories,
    joins_told,
    joins_without_workers,
    joins_without_journal,
    clients_came,
    clients_crashed,
    clients_ended,
    clients_stopped,
    clients_left_nobody,
    clients_answers_of_many,
    deliveries_to_clients,
    puts_of_clients_told,
    puts_of_clients_refused,
    done_in_runs,
    frames_in_parts,
    words_of_dead_clients,
    charged_to_clients,
    unseen_by_clients,
    excused_clients_items,
}

coverage! {
    FleetCoverage:
    steps,
    requests_lost,
    answers_lost,
    strays,
    strangers,
    kills,
    pauses,
    broken_off,
    contradictions,
    left_in_order,
    restarts,
    older_states,
    tellings,
    lost_ends,
    puts_told,
    puts_refused,
    puts_without_room,
    puts_of_workers,
    hurried,
    interrupts,
    given_back,
    taken_over,
    lost_to_others,
    found_again,
    adopted,
    condemned,
    histories_taken_over,
    replies,
    deliveries,
    reports,
    late_words,
    crashes_in_items,
    worker_deaths,
    cancelled,
    empty_gets,
    gets_answered_in_advance,
    steered_pauses,
    pauses_of_all,
    rests_in_pauses,
    cancels,
    cancelled_with_workers,
    revived,
    joins,
}

coverage! {
    CrowdCoverage:
    steps,
    deliveries,
    passed_by,
    overdue_deliveries,
    turns_kept,
    given_back,
    cancelled,
}
