//! The report: a page with what was answered, how fast, and what was delivered, through each fault.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::timeline::{Mark, POINT, Point, Timeline};

const WIDTH: f64 = 1_200.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 70.0;

/// Where the report goes: `TIDEWIRE_FAULTS_REPORT`, or among what tests leave behind.
fn path() -> PathBuf {
    match std::env::var_os("TIDEWIRE_FAULTS_REPORT") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults.svg"),
    }
}

/// Longest time in which nothing was answered while a fault lasted, in seconds.
pub(crate) fn silence(points: &[Point], mark: &Mark) -> f64 {
    let (mut longest, mut current) = (0_u32, 0_u32);
    for (number, point) in points.iter().enumerate() {
        let at = POINT * u32::try_from(number).unwrap();
        if at >= mark.from && at <= mark.whole {
            current = if point.answered == 0 { current + 1 } else { 0 };
            longest = longest.max(current);
        }
    }
    (POINT * longest).as_secs_f64()
}

/// Draws it, and returns where it is.
pub(crate) fn draw(timeline: &Timeline, title: &str) -> PathBuf {
    let (points, marks) = (timeline.points(), timeline.marks());
    let per_s = 1.0 / POINT.as_secs_f64();
    let of = |value: &dyn Fn(&Point) -> f64| points.iter().map(value).collect::<Vec<f64>>();
    let plots = [
        ("writes answered per second", of(&|point| point.answered as f64 * per_s)),
        ("records delivered per second", of(&|point| point.delivered as f64 * per_s)),
        ("time until a write is answered, p99, ms", of(&|point| point.took_ms(99).unwrap_or(0.0))),
    ];
    let legend = 22.0 * marks.len() as f64;
    let height = 60.0 + plots.len() as f64 * (HEIGHT + 50.0) + legend;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"28\" font-size=\"17\">{title}</text>\n",
        WIDTH + LEFT + 30.0
    );
    let scale = WIDTH / points.len().max(1) as f64;
    for (number, (name, values)) in plots.iter().enumerate() {
        let top = 60.0 + number as f64 * (HEIGHT + 50.0);
        plot(&mut svg, top, name, values, scale);
        marks
            .iter()
            .enumerate()
            .for_each(|(number, mark)| shade(&mut svg, top, number, mark, scale));
    }
    for (number, mark) in marks.iter().enumerate() {
        let y = height - legend + 22.0 * number as f64;
        writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{y}\">{}: {}, {:.1} s to {:.1} s, whole at {:.1} s, nothing \
             answered for {:.2} s at most</text>",
            number + 1,
            mark.what,
            mark.from.as_secs_f64(),
            mark.until.as_secs_f64(),
            mark.whole.as_secs_f64(),
            silence(&points, mark),
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    std::fs::write(path(), svg).unwrap();
    path()
}

fn plot(svg: &mut String, top: f64, name: &str, values: &[f64], scale: f64) {
    let most = values.iter().copied().fold(1.0, f64::max);
    let bottom = top + HEIGHT;
    let mut line = String::new();
    for (number, value) in values.iter().enumerate() {
        let (x, y) = (LEFT + number as f64 * scale, bottom - value / most * HEIGHT);
        write!(line, "{x:.1},{y:.1} ").unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\">{name}</text>\n<text x=\"{}\" y=\"{}\" \
         text-anchor=\"end\">{most:.0}</text>\n<text x=\"{}\" y=\"{bottom}\" \
         text-anchor=\"end\">0</text>\n<path d=\"M{LEFT},{top}V{bottom}H{}\" fill=\"none\" \
         stroke=\"#999\"/>\n<polyline points=\"{line}\" fill=\"none\" stroke=\"#1464b4\"/>",
        top - 8.0,
        LEFT - 6.0,
        top + 10.0,
        LEFT - 6.0,
        LEFT + WIDTH,
    )
    .unwrap();
}

/// A fault is red while it lasts, and yellow until the cluster is whole.
fn shade(svg: &mut String, top: f64, number: usize, mark: &Mark, scale: f64) {
    let x = |at: std::time::Duration| LEFT + at.as_secs_f64() / POINT.as_secs_f64() * scale;
    for (from, until, color) in [(mark.from, mark.until, "#d22"), (mark.until, mark.whole, "#da2")]
    {
        writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"{color}\" \
             fill-opacity=\"0.15\"/>",
            x(from),
            x(until) - x(from),
        )
        .unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\">{}</text>",
        x(mark.from) + 3.0,
        top + 14.0,
        number + 1
    )
    .unwrap();
}
