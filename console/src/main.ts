/** Starts the page: settings, theme, session, then either the login form or the map. */

import "maplibre-gl/dist/maplibre-gl.css";
import "./styles/colours.css";
import "./styles/page.css";
import "./styles/panel.css";
import "./styles/stage.css";
import "./styles/detail.css";
import "./styles/events.css";
import "./styles/phone.css";
import { consoleSettings, currentSession, logOut, type ConsoleSettings, type Session } from "./api";
import { Console } from "./console";
import { showLogin, startLogin } from "./login";
import { FleetMap } from "./map";
import { byId, setSheetOpen, setText, showNotice } from "./page";
import { closePasswordForm, startPasswordForm } from "./password";
import { SessionKeeper } from "./session";
import { startTheme } from "./theme";

const UNKNOWN_SETTINGS: ConsoleSettings = { mapStyle: null, overlay: null, version: "" };

async function main(): Promise<void> {
  let map: FleetMap | null = null;
  startTheme(() => map?.repaint());
  const settings = await consoleSettings().catch(() => UNKNOWN_SETTINGS);

  const leave = (message: string): void => {
    keeper.stop();
    view.stop();
    closePasswordForm();
    showLogin(message);
  };
  const enter = (session: Session): void => {
    document.body.dataset["view"] = "console";
    setText(byId("account", HTMLElement), `${session.user} · ${session.tenant}`);
    map?.resize();
    keeper.keep(session);
    view.start(settings.overlay);
  };

  try {
    map = new FleetMap(byId("map", HTMLElement), settings.mapStyle, {
      onPick: (device) => view.pick(device, false),
      onDrag: () => view.stopFollowing(),
      onMoved: () => view.chooseArea(),
    });
  } catch (error) {
    console.warn("The map cannot be drawn.", error);
    showNotice("This browser cannot draw the map: it lacks WebGL 2. The list of vehicles works without it.");
  }
  const view = new Console(map, () => leave("Your session is over. Please log in again."));
  const keeper = new SessionKeeper(() => leave("Your session is over. Please log in again."));
  startLogin((session) => {
    // The map's style is told to users only: the page starts once more where there is one.
    void consoleSettings().then(
      (found) => (found.mapStyle === settings.mapStyle ? enter(session) : location.reload()),
      () => enter(session),
    );
  });
  startPasswordForm();
  byId("fit", HTMLButtonElement).addEventListener("click", () => view.fitFleet(true));
  byId("zoom-in", HTMLButtonElement).addEventListener("click", () => map?.zoomIn());
  byId("zoom-out", HTMLButtonElement).addEventListener("click", () => map?.zoomOut());
  watchPage(view, keeper);
  byId("logout", HTMLButtonElement).addEventListener("click", () => {
    // Even when the server cannot be told, this page lets go of everything it shows.
    void logOut().catch(() => undefined);
    leave("");
  });

  const session = await currentSession().catch(() => null);
  if (session === null) showLogin("");
  else enter(session);
}

function watchPage(view: Console, keeper: SessionKeeper): void {
  const wake = (): void => {
    if (document.hidden || document.body.dataset["view"] !== "console") return;
    keeper.wake();
    view.wake();
  };
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);

  const toggle = byId("fleet-toggle", HTMLButtonElement);
  toggle.addEventListener("click", () => setSheetOpen(toggle.ariaExpanded !== "true"));
  const search = byId("search", HTMLInputElement);
  search.addEventListener("focus", () => setSheetOpen(true));

  document.addEventListener("keydown", (event) => {
    if (document.body.dataset["view"] !== "console") return;
    if (event.key === "Escape") {
      view.pick(null, false);
    } else if (event.key === "/" && !(event.target instanceof HTMLInputElement)) {
      event.preventDefault();
      search.select();
    }
  });
}

void main();
