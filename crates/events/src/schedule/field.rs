//! The fields of a cron expression that are sets of numbers: lists, ranges, steps and names.

/// A field's name, bounds and words.
pub(super) struct Field {
    /// As AWS's page calls it.
    pub name: &'static str,
    pub min: u16,
    pub max: u16,
    /// Words for the values from `min` on.
    pub words: &'static [&'static str],
    /// Whether a range may run over the end, as in `20-2`.
    pub wraps: bool,
}

pub(super) const MINUTES: Field = Field::numbers("minutes", 0, 59);
pub(super) const HOURS: Field = Field::numbers("hours", 0, 23);
pub(super) const DAY_OF_MONTH: Field = Field::numbers("day-of-month", 1, 31);
pub(super) const MONTH: Field = Field {
    words: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
    ..Field::numbers("month", 1, 12)
};
pub(super) const DAY_OF_WEEK: Field = Field {
    words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    ..Field::numbers("day-of-week", 1, 7)
};
pub(super) const YEAR: Field = Field {
    // After the last year there is no first one.
    wraps: false,
    ..Field::numbers("year", 1970, 2199)
};

impl Field {
    const fn numbers(name: &'static str, min: u16, max: u16) -> Self {
        Self {
            name,
            min,
            max,
            words: &[],
            wraps: true,
        }
    }

    /// The values of a list, in order and each once.
    pub fn set(&self, text: &str) -> Result<Vec<u16>, String> {
        let mut values = Vec::new();
        for item in text.split(',') {
            values.extend(self.item(item)?);
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    /// The values of one item: `*`, `5`, `1-5`, `0/15`, `*/15`, `1-9/2`. A step without an end runs to the field's.
    pub fn item(&self, item: &str) -> Result<Vec<u16>, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let (first, last) = match (range, range.split_once('-'), step) {
            ("*", ..) => (self.min, self.max),
            (_, Some((first, last)), _) => (self.value(first)?, self.value(last)?),
            (_, None, Some(_)) => (self.value(range)?, self.max),
            (_, None, None) => (self.value(range)?, self.value(range)?),
        };
        self.run(first, last, step.unwrap_or(1))
    }

    fn run(&self, first: u16, last: u16, step: u16) -> Result<Vec<u16>, String> {
        let count = self.max - self.min + 1;
        let length = match (first <= last, self.wraps) {
            (true, _) => last - first,
            (false, true) => last + count - first,
            (false, false) => {
                return Err(format!(
                    "The {} {first}-{last} end before they begin.",
                    self.name
                ));
            }
        };
        let value = |offset: u16| self.min + (first - self.min + offset) % count;
        Ok((0..=length).step_by(usize::from(step)).map(value).collect())
    }

    /// One number or word.
    pub fn value(&self, text: &str) -> Result<u16, String> {
        let by_word = self
            .words
            .iter()
            .zip(self.min..)
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
            .map(|(_, value)| value);
        by_word
            .or_else(|| number(text))
            .filter(|value| (self.min..=self.max).contains(value))
            .ok_or_else(|| self.wrong(text))
    }

    fn step(&self, text: &str) -> Result<u16, String> {
        number(text)
            .filter(|step| (1..=self.max.min(self.max - self.min + 1)).contains(step))
            .ok_or_else(|| format!("A step of {text:?} does not fit the field {}.", self.name))
    }

    /// What the field takes.
    pub fn wrong(&self, text: &str) -> String {
        let words = match (self.words.first(), self.words.last()) {
            (Some(first), Some(last)) => format!(" or {first}-{last}"),
            _ => String::new(),
        };
        format!(
            "The field {} takes {}-{}{words}, not {text:?}.",
            self.name, self.min, self.max
        )
    }
}

/// Digits and nothing else: no sign, no spaces.
pub(super) fn number(text: &str) -> Option<u16> {
    (text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}
