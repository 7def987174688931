//! Whether the machine is short of memory, as the kernel tells (<https://docs.kernel.org/accounting/psi.html>).

const FILE: &str = "/proc/pressure/memory";
/// Some process waited for memory in this share of the last ten seconds, in per cent.
const HIGH: f64 = 10.0;

/// Whether processes wait for memory. A kernel that does not tell says no.
pub(crate) fn is_high() -> bool {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    some_avg10(&text).is_some_and(|share| share >= HIGH)
}

fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split(' ')
        .find_map(|word| word.strip_prefix("avg10="))?;
    average.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words() {
        let text = "some avg10=12.34 avg60=0.50 avg300=0.00 total=1\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(text), Some(12.34));
        assert_eq!(some_avg10(""), None);
    }
}
