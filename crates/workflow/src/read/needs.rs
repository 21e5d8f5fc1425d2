//! What must hold between jobs: `needs` names jobs that exist, and never in a circle.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::fields::Reader;
use crate::model::Job;

pub(super) fn check(reader: &mut Reader, jobs: &IndexMap<String, Job>) {
    let keys: HashMap<String, usize> =
        jobs.keys().enumerate().map(|(index, key)| (key.to_lowercase(), index)).collect();
    let mut open: Vec<Vec<usize>> = Vec::new();
    for job in jobs.values() {
        let mut needs = Vec::new();
        for need in &job.needs {
            match keys.get(&need.to_lowercase()) {
                Some(index) => needs.push(*index),
                None => {
                    reader.notes.add(job.at, format!("Job '{}' depends on unknown job '{need}'.", job.key))
                }
            }
        }
        open.push(needs);
    }
    // Kahn's algorithm: what cannot be taken off any more stands in a circle or behind one.
    let mut done = vec![false; open.len()];
    loop {
        let free: Vec<usize> =
            (0..open.len()).filter(|&job| !done[job] && open[job].iter().all(|&need| done[need])).collect();
        if free.is_empty() {
            break;
        }
        for job in free {
            done[job] = true;
        }
    }
    if done.first().is_some() && done.iter().all(|done| !done) {
        let at = jobs.values().next().map(|job| job.at).unwrap_or_default();
        reader.notes.add(at, "The workflow must contain at least one job with no dependencies.");
    }
    for (index, job) in jobs.values().enumerate() {
        if !done[index] && on_circle(index, &open) {
            let through: Vec<&str> = job.needs.iter().map(String::as_str).collect();
            reader.notes.add(
                job.at,
                format!("Job '{}' depends on itself through its needs ({}).", job.key, through.join(", ")),
            );
        }
    }
}

fn on_circle(start: usize, open: &[Vec<usize>]) -> bool {
    let mut seen = vec![false; open.len()];
    let mut stack = open[start].clone();
    while let Some(job) = stack.pop() {
        if job == start {
            return true;
        }
        if !std::mem::replace(&mut seen[job], true) {
            stack.extend(&open[job]);
        }
    }
    false
}
