//! A line chart as inline SVG, with its values as a table beside it.

use super::escape::Escaped;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;
/// Styles of lines; the page's style sheet has as many, apart in colour and in dashes.
const STYLES: usize = 6;

/// A chart.
pub(super) struct Chart {
    /// Unique on the page.
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// The values: a row of heads, then the others.
    pub(super) table: Vec<Vec<String>>,
}

/// One axis.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
    /// Values that are marked, and how they are called.
    pub(super) ticks: Vec<(f64, String)>,
}

/// Where a value stands between the two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear(f64, f64),
    Log(f64, f64),
}

/// One line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Scale {
    /// 0 is the lower end, 1 the upper one.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(low, high) => (value - low) / (high - low),
            Self::Log(low, high) => (value.max(low) / low).ln() / (high / low).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Round numbers from 0 to at least this: five to ten of them.
pub(super) fn linear_ticks(max: f64) -> Vec<f64> {
    let rough = (max / 5.0).max(f64::MIN_POSITIVE);
    let ten = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * ten);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < max) && ticks.len() < 12 {
        ticks.push(step * f64::from(u32::try_from(ticks.len()).unwrap_or(0)));
    }
    ticks
}

/// 1, 2 and 5 of each power of ten, from at most the one to at least the other value; the powers
/// alone where these would be many.
pub(super) fn log_ticks(min: f64, max: f64) -> Vec<f64> {
    const MANY: usize = 12;
    let (first, last) = (min.max(1.0).log10().floor(), max.max(1.0).log10().ceil());
    let mut all = Vec::new();
    let mut power = first;
    while power <= last {
        all.extend([1.0, 2.0, 5.0].map(|times| times * 10_f64.powf(power)));
        power += 1.0;
    }
    let below = all.iter().rposition(|tick| *tick <= min.max(1.0)).unwrap_or(0);
    let above = all.iter().position(|tick| *tick >= max).unwrap_or(all.len() - 1).max(below + 1);
    let ticks: Vec<f64> = all.get(below..=above).unwrap_or_default().to_vec();
    if ticks.len() <= MANY {
        return ticks;
    }
    let ends = [ticks.first().copied(), ticks.last().copied()];
    let is_power = |tick: f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
    ticks.into_iter().filter(|tick| is_power(*tick) || ends.contains(&Some(*tick))).collect()
}

impl Chart {
    /// The chart, its legend and its table.
    pub(super) fn html(&self) -> String {
        let mut out = String::new();
        let (id, title) = (self.id, Escaped(&self.title));
        out.push_str(&format!(
            "<section class=\"chart\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">\
             {title}</h2>\n<div class=\"plot\" tabindex=\"0\" role=\"group\" \
             aria-labelledby=\"{id}-title\">\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}. The values stand in the table below.\">\n"
        ));
        self.put_axes(&mut out);
        for (number, line) in self.lines.iter().enumerate() {
            let path = self.path(line);
            out.push_str(&format!(
                "<path class=\"line style-{}\" d=\"{path}\"><title>{}</title></path>\n",
                number % STYLES,
                Escaped(&line.name)
            ));
        }
        out.push_str("</svg>\n</div>\n");
        self.put_legend(&mut out);
        out.push_str("<details><summary>Values</summary>\n");
        out.push_str(&table(&self.table, &self.title));
        out.push_str("</details>\n</section>\n");
        out
    }

    fn put_axes(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in &self.y.ticks {
            let y = self.y_of(*value);
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 8.0,
                y + 4.0,
                Escaped(label)
            ));
        }
        for (value, label) in &self.x.ticks {
            let x = self.x_of(*value);
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 18.0,
                Escaped(label)
            ));
        }
        out.push_str(&format!(
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(14 {:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>\n",
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            Escaped(self.x.label),
            f64::midpoint(TOP, bottom),
            Escaped(self.y.label)
        ));
    }

    fn put_legend(&self, out: &mut String) {
        if self.lines.len() < 2 {
            return;
        }
        out.push_str("<ul class=\"legend\">");
        for (number, line) in self.lines.iter().enumerate() {
            out.push_str(&format!(
                "<li><svg viewBox=\"0 0 36 10\" aria-hidden=\"true\"><path class=\"line \
                 style-{}\" d=\"M0 5H36\"/></svg>{}</li>",
                number % STYLES,
                Escaped(&line.name)
            ));
        }
        out.push_str("</ul>\n");
    }

    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        for (x, y) in &line.points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            path.push_str(&format!("{command}{:.1} {:.1}", self.x_of(*x), self.y_of(*y)));
        }
        path
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// A table whose first row and first column are heads.
pub(super) fn table(rows: &[Vec<String>], caption: &str) -> String {
    let mut out = format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\"><table>\
         <caption>{caption}</caption>\n",
        caption = Escaped(caption)
    );
    for (number, row) in rows.iter().enumerate() {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let (open, close) = match (number, column) {
                (0, _) if cell.is_empty() => ("<td>", "</td>"),
                (0, _) => ("<th scope=\"col\">", "</th>"),
                (_, 0) => ("<th scope=\"row\">", "</th>"),
                _ => ("<td>", "</td>"),
            };
            out.push_str(&format!("{open}{}{close}", Escaped(cell)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_every_value() {
        assert_eq!(linear_ticks(9_376_000.0).last(), Some(&10_000_000.0));
        assert_eq!(linear_ticks(1.0).len(), 6);
        assert_eq!(linear_ticks(0.0), [0.0]);
        assert_eq!(log_ticks(130.0, 4_900.0), [100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0]);
        assert_eq!(log_ticks(100.0, 100.0), [100.0, 200.0]);
        assert_eq!(log_ticks(3.0, 9_000_000.0).first(), Some(&2.0));
        assert!(log_ticks(3.0, 9_000_000.0).len() <= 12);
    }

    #[test]
    fn values_stand_between_the_ends_of_their_scale() {
        assert!((Scale::Linear(0.0, 10.0).place(5.0) - 0.5).abs() < 1e-9);
        assert!((Scale::Log(1.0, 10_000.0).place(100.0) - 0.5).abs() < 1e-9);
        assert!(Scale::Log(10.0, 100.0).place(0.0).abs() < 1e-9);
        assert!(Scale::Linear(0.0, 0.0).place(1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_shown_is_text_and_never_markup() {
        let html = table(&[vec!["<b>".to_owned()], vec!["a & b".to_owned()]], "\"c\"");
        assert!(html.contains("&lt;b&gt;") && html.contains("a &amp; b"), "{html}");
        assert!(html.contains("aria-label=\"&quot;c&quot;\""), "{html}");
    }
}
