//! A driver who posts over HTTP, over one kept connection.

use std::rc::Rc;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::fleet::driver::{Driver, Sent};
use crate::fleet::plan::secs;
use crate::fleet::world::World;
use crate::http::{Connection, Fault, Head};
use crate::tally::Receipt;

const ANSWER_SECS: f64 = 60.0;
const AGAIN_SECS: f64 = 0.25;

/// Posts until the run is over. A batch whose answer is late makes the next one late, and is charged for it.
pub async fn drive(world: Rc<World>, mut connection: Connection, mut driver: Driver) {
    let head = format!(
        "POST /api/driver/location HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n",
        world.args.address, world.args.token
    );
    let mut body = Vec::with_capacity(2 * 1024);
    while driver.next_at() < world.plan.ends_at {
        sleep_until(driver.next_at()).await;
        body.clear();
        let Some(sent) = driver.write(&world, &mut body, false) else { return };
        let outcome = timeout(secs(ANSWER_SECS), connection.exchange(head.as_bytes(), &body)).await;
        let is_usable = count(&world, &connection, sent, outcome.unwrap_or_else(|late| Err(late.into())));
        if !is_usable {
            let Some(fresh) = reconnect(&world).await else { return };
            connection = fresh;
        }
    }
}

/// Counts what came; whether the connection can be used again.
fn count(world: &World, connection: &Connection, sent: Sent, outcome: Result<Head, Fault>) -> bool {
    let tally = &mut *world.posts.borrow_mut();
    let answer = match outcome {
        Ok(answer) => answer,
        Err(fault) => {
            tally.error(fault.name());
            return false;
        }
    };
    let (sent_bytes, received_bytes) = connection.exchanged_bytes();
    tally.bytes(sent_bytes, received_bytes);
    match serde_json::from_slice::<Receipt>(connection.body(answer)) {
        Ok(receipt) if answer.status == 200 => sent.stored(world, tally, "200", &receipt),
        _ => sent.refused(tally, &answer.status.to_string()),
    }
    !answer.closes
}

/// Opens the connection anew; `None` when the run is over.
async fn reconnect(world: &World) -> Option<Connection> {
    while Instant::now() < world.plan.ends_at {
        match open(world).await {
            Ok(connection) => return Some(connection),
            Err(_) => world.posts.borrow_mut().error("connect"),
        }
        sleep(secs(AGAIN_SECS)).await;
    }
    None
}

async fn open(world: &World) -> Result<Connection, Fault> {
    Ok(Connection::over(world.door.connect(false).await?)?)
}
