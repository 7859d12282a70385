//! Column alignment as Go's `text/tabwriter` with Docker's settings (minimum 10, padding 3).

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns the tab-separated cells of `lines`; the last cell of a line is never padded.
pub(crate) fn align<S: AsRef<str>>(lines: &[S]) -> String {
    align_at(MIN_WIDTH, lines)
}

/// As [`align`], with columns of at least `min_width`.
pub(crate) fn align_at<S: AsRef<str>>(min_width: usize, lines: &[S]) -> String {
    let rows: Vec<Vec<&str>> = lines
        .iter()
        .flat_map(|line| line.as_ref().split('\n'))
        .map(|line| line.split('\t').collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let padded = rows.iter().filter(|row| column + 1 < row.len());
            let widest = padded.map(|row| row[column].chars().count()).max().unwrap_or(0);
            (widest + PADDING).max(min_width)
        })
        .collect();
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let gap = widths[column].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_columns_keep_the_minimum_width() {
        assert_eq!(align(&["IMAGE\tTAG", "busybox\tlatest"]), "IMAGE     TAG\nbusybox   latest\n");
    }

    #[test]
    fn a_wide_cell_widens_its_column_only() {
        assert_eq!(
            align(&["A\tB\tC", "a-very-long-cell\tb\tc"]),
            "A                  B         C\na-very-long-cell   b         c\n"
        );
    }
}
