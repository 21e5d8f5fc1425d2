//! A figure: what was measured, the limit beside it, and what was wanted.

use serde::Serialize;

/// Measurements of one thing, in milliseconds (or MB).
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value that as many are above as below.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The value below which the share `part` lies.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let place = (last as f64 * part).round() as usize;
        sorted.get(place.min(last)).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// What was measured beside the figure, with the same parts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limit {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) samples: Samples,
}

/// What is wanted of an idle machine with two cores.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// At most this.
    AtMost(f64),
    /// At most this above the limit.
    Over(f64),
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// The median.
    pub(crate) value: f64,
    pub(crate) samples: Samples,
    pub(crate) limit: Option<Limit>,
    /// Measured by limit.
    pub(crate) ratio: Option<f64>,
    pub(crate) target: Option<Target>,
    /// Whether the target was met.
    pub(crate) held: Option<bool>,
    /// Where the time goes: name and median milliseconds, in order.
    pub(crate) spans: Vec<(String, f64)>,
}

impl Figure {
    pub(crate) fn new(name: &str, samples: Samples) -> Self {
        Self {
            name: name.to_owned(),
            unit: "ms",
            value: samples.median(),
            samples,
            limit: None,
            ratio: None,
            target: None,
            held: None,
            spans: Vec::new(),
        }
    }

    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(crate) fn limit(mut self, what: &str, samples: Samples) -> Self {
        let value = samples.median();
        self.ratio = (value > 0.0).then(|| self.value / value);
        self.limit = Some(Limit { what: what.to_owned(), value, samples });
        self
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        let over = self.value - self.limit.as_ref().map_or(0.0, |limit| limit.value);
        self.held = Some(match target {
            Target::AtMost(most) => self.value <= most,
            Target::Over(most) => over <= most,
        });
        self.target = Some(target);
        self
    }

    pub(crate) fn spans(mut self, spans: Spans) -> Self {
        self.spans = spans.0.into_iter().map(|(name, samples)| (name, samples.median())).collect();
        self
    }
}

/// Named stretches of time, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<(String, Samples)>);

impl Spans {
    pub(crate) fn add(&mut self, name: &str, millis: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, samples)) => samples.add(millis),
            None => self.0.push((name.to_owned(), Samples(vec![millis]))),
        }
    }

    /// One stretch from each point to the next.
    pub(crate) fn walk(&mut self, start: u64, points: &[(&str, u64)]) {
        let mut from = start;
        for (name, at) in points {
            self.add(name, crate::clock::millis(from, *at));
            from = *at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_targets() {
        let samples: Samples = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!((samples.median(), samples.at(1.0)), (2.0, 3.0));
        let figure = Figure::new("x", samples).limit("y", [1.0].into_iter().collect());
        assert_eq!(figure.ratio, Some(2.0));
        assert_eq!(figure.clone().target(Target::Over(1.0)).held, Some(true));
        assert_eq!(figure.target(Target::AtMost(1.9)).held, Some(false));
    }
}
