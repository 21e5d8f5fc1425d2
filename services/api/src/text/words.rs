//! Durations, ages and moments as people read them.

use sluice_schemas::Timestamp;

/// `0.8 s`, `38 s`, `2 m 16 s`, `2 h 16 m`, `3 d`.
#[must_use]
pub(crate) fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 if millis < 100 => format!("{millis} ms"),
        0..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => match seconds % 60 {
            0 => format!("{} m", seconds / 60),
            rest => format!("{} m {rest} s", seconds / 60),
        },
        3600..86_400 => match seconds % 3600 / 60 {
            0 => format!("{} h", seconds / 3600),
            rest => format!("{} h {rest} m", seconds / 3600),
        },
        _ => format!("{} d", seconds / 86_400),
    }
}

/// As [`duration`], without parts that do not matter for an age.
#[must_use]
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.millis_since(at) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => duration(seconds * 1000),
        600..3600 => format!("{} m", seconds / 60),
        _ => duration(seconds * 1000),
    }
}

/// `2026-11-23 14:32:08 UTC`.
#[must_use]
pub(crate) fn moment(at: Timestamp) -> String {
    let it = at.to_offset();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        it.year(),
        u8::from(it.month()),
        it.day(),
        it.hour(),
        it.minute(),
        it.second()
    )
}

/// `14:32:08`.
#[must_use]
pub(crate) fn clock(at: Timestamp) -> String {
    moment(at)[11..19].to_owned()
}

/// RFC 3339 with whole seconds, as Argo CD writes times.
#[must_use]
pub(crate) fn argo_time(at: Timestamp) -> String {
    let text = moment(at);
    format!("{}T{}Z", &text[..10], &text[11..19])
}

/// `1 object`, `2 objects`.
#[must_use]
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_parts_at_most() {
        for (millis, text) in [
            (12, "12 ms"),
            (812, "0.8 s"),
            (38_400, "38 s"),
            (136_000, "2 m 16 s"),
            (8_160_000, "2 h 16 m"),
            (7_200_000, "2 h"),
            (300_000_000, "3 d"),
        ] {
            assert_eq!(duration(millis), text);
        }
    }

    #[test]
    fn argo_times_have_whole_seconds() {
        let at = Timestamp::from_unix_millis(1_790_000_000_250);
        assert_eq!(argo_time(at), "2026-09-21T14:13:20Z");
        assert_eq!(clock(at), "14:13:20");
    }
}
