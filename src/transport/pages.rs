//! The pages: static files that are part of the binary.

/// A file of the pages.
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    pub(crate) body: &'static [u8],
}

macro_rules! pages {
    ($($path:literal => $file:literal, $content_type:ident;)+) => {
        /// The file that stands at a path.
        pub(super) fn page(path: &str) -> Option<Page> {
            match path {
                $($path => Some(Page {
                    content_type: $content_type,
                    body: include_bytes!(concat!("../../web/", $file)),
                }),)+
                _ => None,
            }
        }
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

pages! {
    "/" => "index.html", HTML;
    "/index.html" => "index.html", HTML;
    "/style.css" => "style.css", CSS;
    "/favicon.svg" => "favicon.svg", SVG;
    "/vote.html" => "vote.html", HTML;
    "/vote.css" => "vote.css", CSS;
    "/vote.js" => "vote.js", SCRIPT;
    "/app.js" => "app.js", SCRIPT;
    "/board.js" => "board.js", SCRIPT;
    "/race.js" => "race.js", SCRIPT;
    "/rounds.js" => "rounds.js", SCRIPT;
    "/stats.js" => "stats.js", SCRIPT;
    "/format.js" => "format.js", SCRIPT;
    "/tidewire.js" => "tidewire.js", SCRIPT;
    "/follow.js" => "follow.js", SCRIPT;
    "/frames.js" => "frames.js", SCRIPT;
    "/msgpack.js" => "msgpack.js", SCRIPT;
}

/// What a page may load and do: its own files and its own server, nothing else.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
