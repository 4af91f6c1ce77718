//! A QR code on a terminal.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code (ISO/IEC 18004).
const QUIET_ZONE: usize = 4;
/// Black on white by number, whatever colours the terminal has.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// The text as a code, two modules in one character.
///
/// # Errors
/// When the text is too long for a code.
pub(super) fn drawn(text: &str) -> Result<String, String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| format!("the address has no QR code: {error}"))?;
    let (width, modules) = (code.width(), code.to_colors());
    let side = width + 2 * QUIET_ZONE;
    let is_dark = |row: usize, column: usize| {
        let (Some(row), Some(column)) =
            (row.checked_sub(QUIET_ZONE), column.checked_sub(QUIET_ZONE))
        else {
            return false;
        };
        column < width && modules.get(row * width + column) == Some(&Color::Dark)
    };
    let line = |row: usize| {
        let module = |column| match (is_dark(row, column), is_dark(row + 1, column)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        let drawn: String = (0..side).map(module).collect();
        format!("{COLOURS}{drawn}{PLAIN}")
    };
    let lines: Vec<String> = (0..side).step_by(2).map(line).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_quiet_zone_and_its_three_corners() {
        let drawn = drawn("https://192.0.2.1:7171/").unwrap();
        let lines: Vec<&str> = drawn
            .lines()
            .map(|line| line.strip_prefix(COLOURS).unwrap().strip_suffix(PLAIN).unwrap())
            .collect();
        // 23 bytes fit version 2: 25 modules, and 4 on each side.
        assert_eq!(lines.len(), 17);
        assert!(lines.iter().all(|line| line.chars().count() == 33));
        for blank in [0, 1, 15, 16] {
            let is_blank = lines[blank].chars().all(|module| module == ' ');
            assert!(is_blank, "line {blank}");
        }
        let top: String = lines[2].chars().skip(4).take(7).collect();
        assert_eq!(top, "█▀▀▀▀▀█");
        assert_eq!(lines[2].chars().skip(22).take(7).collect::<String>(), "█▀▀▀▀▀█");
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(drawn(&"x".repeat(3000)).unwrap_err().contains("no QR code"));
    }
}
