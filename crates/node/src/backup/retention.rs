//! Which backups are kept: all of the last hour, the newest of each hour for a week, the newest of each day for as
//! many days as the cluster's owner wants. Pure.
//!
//! Hours and days are those of UTC. The newest of an hour that is over stays the newest of it, and the newest of a
//! day is also the newest of its hour: what is kept now was never left out before.

use std::collections::BTreeSet;

use kcl_node_config::BackupName;
use time::{Duration, OffsetDateTime};

/// How long all are kept.
const ALL: Duration = Duration::HOUR;

/// How long one of each hour is kept.
const HOURLY: Duration = Duration::WEEK;

/// Those of `backups` that are kept no longer, the oldest first. The newest of all is never among them, however old
/// it is, nor is one that was taken later than `now`: clocks differ.
pub fn outlived(backups: &BTreeSet<BackupName>, now: OffsetDateTime, retention_days: u32) -> Vec<BackupName> {
    let daily = Duration::days(i64::from(retention_days));
    let (mut hours, mut days) = (BTreeSet::new(), BTreeSet::new());
    let mut outlived = Vec::new();
    for (index, backup) in backups.iter().rev().enumerate() {
        let (at, age) = (backup.at(), now - backup.at());
        // Of all that are in an hour or a day, the newest comes first.
        let first_of_hour = hours.insert((at.date(), at.hour()));
        let first_of_day = days.insert(at.date());
        let kept =
            index == 0 || age < ALL || (age < HOURLY && first_of_hour) || (age < daily && first_of_day);
        if !kept {
            outlived.push(backup.clone());
        }
    }
    outlived.reverse();
    outlived
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-27 03:15:00 UTC);

    fn ago(age: Duration) -> BackupName {
        BackupName::new(NOW - age, "i-0abc")
    }

    /// Minutes before now, some of them in the future.
    fn some() -> impl Strategy<Value = BTreeSet<BackupName>> {
        let ages = prop_oneof![-30..120_i64, 0..20_000_i64, 0..300_000_i64];
        prop::collection::btree_set(ages.prop_map(|age| ago(Duration::minutes(age))), 0..200)
    }

    fn left(backups: &BTreeSet<BackupName>, days: u32) -> BTreeSet<BackupName> {
        let gone: BTreeSet<BackupName> = outlived(backups, NOW, days).into_iter().collect();
        assert!(gone.is_subset(backups));
        backups - &gone
    }

    proptest! {
        #[test]
        fn what_is_promised_is_kept(backups in some(), days in 0..120_u32) {
            let left = left(&backups, days);
            prop_assert_eq!(left.last(), backups.last(), "the newest");
            for backup in &backups {
                let age = NOW - backup.at();
                let at = backup.at();
                if age < Duration::HOUR {
                    prop_assert!(left.contains(backup), "{backup}");
                }
                if age < Duration::WEEK {
                    let same = |other: &&BackupName| (other.at().date(), other.at().hour()) == (at.date(), at.hour());
                    prop_assert_eq!(left.iter().rfind(same), backups.iter().rfind(same), "{}", backup);
                }
                if age < Duration::days(days.into()) {
                    let same = |other: &&BackupName| other.at().date() == at.date();
                    prop_assert_eq!(left.iter().rfind(same), backups.iter().rfind(same), "{}", backup);
                }
            }
        }

        #[test]
        fn no_more_than_that_is_kept(backups in some(), days in 0..120_u32) {
            let left = left(&backups, days);
            let older = |age: Duration| left.iter().filter(move |backup| NOW - backup.at() >= age);
            let hours: BTreeSet<_> = older(Duration::HOUR).map(|backup| (backup.at().date(), backup.at().hour())).collect();
            let newest = 1;
            prop_assert!(older(Duration::HOUR).count() <= hours.len() + newest);
            let dates: BTreeSet<_> = older(Duration::WEEK).map(|backup| backup.at().date()).collect();
            prop_assert!(older(Duration::WEEK).count() <= dates.len() + newest);
            prop_assert!(older(Duration::WEEK.max(Duration::days(days.into()))).count() <= newest);
        }

        /// Whenever it is looked at in between: the backups of today do not depend on it.
        #[test]
        fn looking_more_often_changes_nothing(
            backups in some(),
            days in 0..120_u32,
            earlier in prop::collection::vec(0..200_000_i64, 0..4),
        ) {
            let mut looked = backups.clone();
            let mut times: Vec<_> = earlier.iter().map(|minutes| NOW - Duration::minutes(*minutes)).collect();
            times.sort();
            for then in times {
                let there: BTreeSet<_> = looked.iter().filter(|backup| backup.at() <= then).cloned().collect();
                for gone in outlived(&there, then, days) {
                    looked.remove(&gone);
                }
            }
            let now = left(&looked, days);
            prop_assert_eq!(now, left(&backups, days));
        }
    }

    #[test]
    fn a_year_of_quarters_of_an_hour() {
        let quarters = (0..365 * 24 * 4).map(|quarter| ago(Duration::minutes(15 * quarter)));
        let left = left(&quarters.collect(), 90);
        // Four of the last hour; one of each hour until a week ago but for that which the four began in; one of each
        // day.
        assert_eq!(left.len(), 4 + (7 * 24 - 1) + (90 - 7));
        assert!(outlived(&left, NOW, 90).is_empty());
        assert!(outlived(&BTreeSet::from([ago(Duration::days(1000))]), NOW, 0).is_empty());
    }
}
