//! An application that is asked, with what it was asked on record.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What it does with questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Refuses what 'mallory' asks, and what is about a name with 'forbidden' in it; is slow about
    /// names with 'slow' in them, until the mood changes.
    Answers,
    /// Most of a second.
    TakesItsTime,
    Fails,
    SaysNonsense,
    SaysMuch,
    IsSilent,
}

#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Value>>>,
    mood: watch::Sender<Mood>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/decide", listener.local_addr().unwrap());
        let mood = watch::Sender::new(Mood::Answers);
        let application = Self { url, asked: Arc::default(), mood };
        let routes = axum::routing::post(decide).with_state(application.clone());
        let router = Router::new().route("/decide", routes);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        application
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// What it was asked since it was looked at last, as `OPERATION NAME SUBJECT`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        asked
            .iter()
            .map(|question| {
                let subject = text(&question["identity"]["subject"]);
                format!("{} {} {subject}", text(&question["operation"]), text(&question["name"]))
            })
            .collect()
    }
}

async fn decide(State(application): State<Application>, body: Bytes) -> Response {
    let question: Value = serde_json::from_slice(&body).unwrap();
    let has = |field: &Value, part: &str| field.as_str().is_some_and(|text| text.contains(part));
    let is_refused =
        has(&question["name"], "forbidden") || has(&question["identity"]["subject"], "mallory");
    let is_slow = has(&question["name"], "slow") || has(&question["identity"]["subject"], "slow");
    application.asked.lock().unwrap().push(question);
    let mut mood = application.mood.subscribe();
    let now = *mood.borrow_and_update();
    match now {
        Mood::Answers if is_slow => mood.changed().await.unwrap(),
        Mood::IsSilent => mood.changed().await.unwrap(),
        Mood::TakesItsTime => tokio::time::sleep(Duration::from_millis(700)).await,
        _ => {}
    }
    match now {
        Mood::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::SaysNonsense => "yes".into_response(),
        Mood::SaysMuch => {
            format!("{{\"allow\":true,\"more\":\"{}\"}}", "x".repeat(20_000)).into_response()
        }
        _ if is_refused => {
            axum::Json(json!({ "allow": false, "reason": "not today" })).into_response()
        }
        _ => axum::Json(json!({ "allow": true })).into_response(),
    }
}
