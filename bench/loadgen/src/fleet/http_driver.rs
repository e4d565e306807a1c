//! Posts the batches of one driver over a persistent HTTP connection.

use std::rc::Rc;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::fleet::driver::{Driver, Sent};
use crate::fleet::plan::secs;
use crate::fleet::state::FleetState;
use crate::http::{Connection, Head, RequestError};
use crate::outcomes::Receipt;

const ANSWER_TIMEOUT_SECS: f64 = 60.0;
const RETRY_SECS: f64 = 0.25;

/// Posts until the run is over. A late answer delays the next batch, whose latency includes the delay.
pub async fn drive(state: Rc<FleetState>, mut connection: Connection, mut driver: Driver) {
    let head = format!(
        "POST /api/driver/location HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n",
        state.args.address, state.args.token
    );
    let mut body = Vec::with_capacity(2 * 1024);
    while driver.next_at() < state.plan.ends_at {
        sleep_until(driver.next_at()).await;
        body.clear();
        let Some(sent) = driver.write(&state, &mut body, false) else { return };
        let outcome = timeout(secs(ANSWER_TIMEOUT_SECS), connection.exchange(head.as_bytes(), &body)).await;
        let is_usable = count(&state, &connection, sent, outcome.unwrap_or_else(|late| Err(late.into())));
        if !is_usable {
            let Some(fresh) = reconnect(&state).await else { return };
            connection = fresh;
        }
    }
}

/// Counts the answer; returns whether the connection can be used again.
fn count(state: &FleetState, connection: &Connection, sent: Sent, outcome: Result<Head, RequestError>) -> bool {
    let outcomes = &mut *state.posts.borrow_mut();
    let answer = match outcome {
        Ok(answer) => answer,
        Err(fault) => {
            outcomes.error(fault.name());
            return false;
        }
    };
    let (sent_bytes, received_bytes) = connection.exchanged_bytes();
    outcomes.bytes(sent_bytes, received_bytes);
    match serde_json::from_slice::<Receipt>(connection.body(answer)) {
        Ok(receipt) if answer.status == 200 => sent.stored(state, outcomes, "200", &receipt),
        _ => sent.refused(outcomes, &answer.status.to_string()),
    }
    !answer.closes
}

/// Reconnects with retries; `None` when the run is over.
async fn reconnect(state: &FleetState) -> Option<Connection> {
    while Instant::now() < state.plan.ends_at {
        match open(state).await {
            Ok(connection) => return Some(connection),
            Err(_) => state.posts.borrow_mut().error("connect"),
        }
        sleep(secs(RETRY_SECS)).await;
    }
    None
}

async fn open(state: &FleetState) -> Result<Connection, RequestError> {
    Ok(Connection::over(state.endpoint.connect(false).await?)?)
}
