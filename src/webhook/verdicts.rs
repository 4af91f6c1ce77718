//! Verdicts that are remembered, for a while and not too many.

use std::hash::RandomState;

use hashbrown::HashMap;

use super::question::{Kept, Question, Verdict};

/// What was answered to questions. Kept in two generations: when the younger one is full it becomes the
/// older one, whose answers are forgotten unless they are used again.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Of both generations together.
    remembered_max: usize,
    young: HashMap<Kept, Remembered, RandomState>,
    old: HashMap<Kept, Remembered, RandomState>,
}

#[derive(Debug)]
struct Remembered {
    verdict: Verdict,
    until_ms: u64,
}

impl Verdicts {
    pub(super) fn new(remembered_max: u32) -> Self {
        let remembered_max = usize::try_from(remembered_max).unwrap_or(usize::MAX);
        Self { remembered_max, ..Self::default() }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// What was answered to this, if it still holds.
    pub(super) fn get(&mut self, question: &Question<'_>, now_ms: u64) -> Option<Verdict> {
        if let Some(remembered) = self.young.get(question) {
            return remembered.holds(now_ms);
        }
        let (kept, remembered) = self.old.remove_entry(question)?;
        let verdict = remembered.holds(now_ms)?;
        self.insert(kept, remembered);
        Some(verdict)
    }

    /// Remembers an answer.
    pub(super) fn put(&mut self, question: &Question<'_>, verdict: Verdict, until_ms: u64) {
        if self.remembered_max > 0 {
            self.old.remove(question);
            self.insert(question.kept(), Remembered { verdict, until_ms });
        }
    }

    fn insert(&mut self, kept: Kept, remembered: Remembered) {
        if self.young.len() >= self.remembered_max.div_ceil(2) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(kept, remembered);
    }
}

impl Remembered {
    fn holds(&self, now_ms: u64) -> Option<Verdict> {
        (now_ms < self.until_ms).then(|| self.verdict.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::question::tests::question;
    use super::*;

    #[test]
    fn an_answer_holds_for_its_time() {
        let mut verdicts = Verdicts::new(10);
        let refused = Verdict::Refused(Some("no".into()));
        verdicts.put(&question("a"), refused.clone(), 100);
        assert_eq!(verdicts.get(&question("a"), 99), Some(refused));
        assert_eq!(verdicts.get(&question("a"), 100), None);
        assert_eq!(verdicts.get(&question("b"), 0), None);
        verdicts.put(&question("a"), Verdict::Allowed, 200);
        assert_eq!(verdicts.get(&question("a"), 100), Some(Verdict::Allowed));
        assert_eq!(verdicts.len(), 1);
    }

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let mut verdicts = Verdicts::new(10);
        verdicts.put(&question("used"), Verdict::Allowed, u64::MAX);
        for number in 0..1_000 {
            verdicts.put(&question(&format!("n.{number}")), Verdict::Allowed, u64::MAX);
            assert!(verdicts.get(&question("used"), 0).is_some(), "{number}");
            assert!(verdicts.len() <= 10);
        }
        assert!(verdicts.get(&question("n.0"), 0).is_none());
        assert!(verdicts.get(&question("n.999"), 0).is_some());
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let mut verdicts = Verdicts::new(0);
        verdicts.put(&question("a"), Verdict::Allowed, u64::MAX);
        assert_eq!(verdicts.get(&question("a"), 0), None);
    }
}
