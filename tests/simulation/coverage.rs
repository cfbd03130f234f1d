//! How often each kind of thing happened, so that nothing can silently stop being exercised.

macro_rules! coverage {
    ($($name:ident),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct Coverage {
            $(pub(crate) $name: u64),+
        }

        impl Coverage {
            pub(crate) fn add(&mut self, other: &Coverage) {
                $(self.$name += other.$name;)+
            }

            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

coverage! {
    steps,
    puts_told,
    puts_refused_full,
    puts_refused_broken,
    puts_of_workers_told,
    keys_passed_over,
    cancelled_gets,
    cancelled_puts,
    crossing_answers,
    deliveries,
    deliveries_in_advance,
    deliveries_to_loops,
    deliveries_to_consumers,
    undeliverable,
    done_told,
    done_by_store,
    taken_back,
    retries_told,
    dead_told,
    returned,
    late_words,
    words_of_the_buried,
    nacks,
    deferred_nacks,
    panics,
    time_limits,
    charged_deaths,
    idle_deaths,
    boot_deaths,
    failed_starts,
    lingering_links,
    slots_given_up,
    worn,
    recycled,
    stops,
    stopped_in_order,
    cancelled_waiting,
    cancelled_leased,
    cancelled_nothing,
    revoked_and_killed,
    revived,
    writes,
    write_failures,
    failed_writes_that_lasted,
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
}
