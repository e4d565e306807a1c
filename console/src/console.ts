/**
 * The dispatcher's view: the feed moves the fleet, the fleet is drawn on the map and in the list.
 *
 * Of a large fleet, only the part around what the map shows is watched. The map is drawn at most every `DRAW_MILLIS` and never while it is still busy with the draw before; the list and all ages once a
 * second. A hidden page keeps its fleet up to date and draws nothing.
 */

import { acknowledge, currentSession, newestEvent, Problem, request } from "./api";
import { boundsOf } from "./bounds";
import { serverNowMillis } from "./clock";
import { ConnectionView } from "./connection";
import { Detail } from "./detail";
import { VehicleFeatures } from "./features";
import { EventList } from "./event-list";
import { EventLog } from "./events";
import { Feed } from "./feed";
import { Fleet } from "./fleet";
import { SUBPROTOCOLS, type Frame } from "./frame";
import { History } from "./history";
import { Legend } from "./legend";
import { NO_VEHICLE, VehicleList } from "./list";
import type { FleetMap } from "./map";
import { setData, setSheetOpen, showNotice } from "./page";
import { isRecord } from "./position";
import { trackFeatures } from "./track";
import { Viewport } from "./viewport";

const DRAW_MILLIS = 250;
const TICK_MILLIS = 1_000;
const CLOSE_ZOOM = 14;
// How many events back a fresh page begins: an emergency of before may still be open.
const EVENTS_BACK = 200;

export class Console {
  private readonly fleet = new Fleet();
  private readonly features = new VehicleFeatures();
  private readonly connection = new ConnectionView();
  private readonly legend = new Legend((motions) => {
    this.map?.showMotions(motions);
    this.list.reset();
  });
  private readonly list = new VehicleList(this.fleet, () => this.legend.motions, (device) => this.pick(device, true));
  private readonly detail = new Detail({
    onClose: () => this.pick(null, false),
    onHours: (hours) => this.picked !== null && this.history.show(this.picked, hours),
    onCentre: () => this.centre(CLOSE_ZOOM),
    onFollow: (follows) => this.follow(follows),
  });
  private readonly history = new History((view) => {
    this.map?.drawTrack(view === null ? null : trackFeatures(view.points, view.fromMillis, view.toMillis));
    if (view !== null) this.detail.showHistory(view);
  });
  private readonly events = new EventLog();
  private readonly eventList = new EventList(acknowledge);
  private readonly feed: Feed;
  private readonly viewport = new Viewport((area) => this.feed.watch(area));
  private ticker: ReturnType<typeof setInterval> | undefined;
  private picked: string | null = null;
  private follows = false;
  private fitted = false;
  private answered = false;
  private moves = 0;
  private drawing = false;
  private drawTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param map null where the browser cannot draw one; the list works all the same. */
  constructor(
    private map: FleetMap | null,
    onSessionOver: () => void,
  ) {
    const address = new URL("/ws/dispatch", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.feed = new Feed({
      openSocket: () => new WebSocket(address, SUBPROTOCOLS),
      onFrame: (frame, goesOn) => this.take(frame, goesOn),
      onState: (state) => this.connection.enter(state),
      isSessionAlive: () => currentSession().then((session) => session !== null, () => true),
      onSessionOver,
      random: Math.random,
    });
  }

  start(overlay: string | null): void {
    this.feed.start();
    void this.hearEvents();
    this.ticker = setInterval(() => this.tick(), TICK_MILLIS);
    this.tick();
    if (overlay !== null) void this.loadStreets(overlay);
  }

  /** Ends the feed and forgets the fleet: the next one to log in may belong to another company. */
  stop(): void {
    clearInterval(this.ticker);
    this.feed.stop();
    this.viewport.reset();
    this.pick(null, false);
    this.fleet.replace([]);
    this.events.clear();
    this.eventList.show([]);
    this.fitted = this.answered = false;
    this.tick();
  }

  /** To be called when the page is looked at again, or the network is back. */
  wake(): void {
    this.feed.retryNow();
    this.tick();
  }

  /** Picks a vehicle, or none; `centred` brings it into view, as when it was picked in the list. */
  pick(device: string | null, centred: boolean): void {
    if (device !== null && this.fleet.get(device) === undefined) return;
    this.picked = device;
    this.stopFollowing();
    this.list.setPicked(device);
    // On a phone the list's sheet makes room for the vehicle's.
    if (device !== null) setSheetOpen(false);
    if (device === null) {
      this.detail.close();
      this.history.hide();
    } else {
      this.detail.open(device);
      this.history.show(device, this.detail.hours);
      if (centred) this.centre(CLOSE_ZOOM);
    }
    this.showPicked();
    this.chooseArea();
  }

  /** Watches the part of the fleet that the map shows, when both have come to rest. A picked vehicle is kept wherever it drives. */
  chooseArea(): void {
    if (!this.answered) return;
    this.viewport.settle(() => {
      if (this.map === null || !this.answered) return null;
      return { shown: this.map.bounds(), fleet: [...this.fleet.positions()], everything: this.picked !== null };
    });
  }

  /** Lets the map stay where the user has dragged it to. */
  stopFollowing(): void {
    this.follows = false;
    this.detail.setFollows(false);
  }

  fitFleet(animated: boolean): void {
    // Where the rest of the fleet is, only the snapshot of everything tells.
    if (this.viewport.release()) {
      this.fitted = false;
      return;
    }
    const bounds = boundsOf(this.fleet.positions());
    if (bounds !== null) this.map?.fit(bounds, animated);
  }

  private take(frame: Frame, goesOn: boolean): void {
    if (frame.type === "error") console.warn("The feed reports an error.", frame.code, frame.detail);
    if (frame.type === "event") {
      this.events.take(frame.event);
      this.eventList.show(this.events.shown());
    }
    if (frame.type === "snapshot") {
      this.answered = true;
      if (goesOn) this.fleet.advance(frame.positions);
      else this.fleet.replace(frame.positions);
      if (!frame.more) this.arrive();
    } else if (frame.type === "moved") {
      this.moves += this.fleet.advance(frame.positions);
      this.fleet.remove(frame.left);
      const followed = frame.positions.findLast(({ device }) => device === this.picked);
      if (followed !== undefined) this.history.append(followed);
    } else {
      return;
    }
    this.scheduleDraw();
  }

  /** The fleet is as the server has it. */
  private arrive(): void {
    if (!this.fitted && this.fleet.size > 0) this.fitFleet(false);
    this.fitted ||= this.fleet.size > 0;
    this.tick();
    this.chooseArea();
  }

  private scheduleDraw(): void {
    if (this.drawTimer !== undefined || document.hidden) return;
    this.drawTimer = setTimeout(() => void this.draw(), DRAW_MILLIS);
  }

  private async draw(): Promise<void> {
    this.drawTimer = undefined;
    if (this.drawing) return this.scheduleDraw();
    const change = this.features.update(this.fleet, serverNowMillis());
    setData("vehicles", String(this.fleet.size));
    setData("moves", String(this.moves));
    this.legend.setCounts(this.features.counts);
    this.showPicked();
    if (change.changed.length + change.gone.length === 0) return;
    this.drawing = true;
    await this.map?.drawVehicles(change, this.features);
    this.drawing = false;
  }

  private tick(): void {
    if (document.hidden) return;
    const nowMillis = serverNowMillis();
    this.connection.tick(this.fleet.newestFixMillis());
    this.list.refresh(nowMillis);
    if (this.map !== null) showNotice(this.answered && this.fleet.size === 0 ? NO_VEHICLE : "");
    if (this.picked !== null) this.detail.showPosition(this.fleet.get(this.picked), nowMillis);
    // Ages change the colours although nothing moves.
    this.scheduleDraw();
  }

  private showPicked(): void {
    const position = this.picked === null ? undefined : this.fleet.get(this.picked);
    this.map?.drawPicked(position ?? null);
    if (position === undefined) return;
    this.detail.showPosition(position, serverNowMillis());
    if (this.follows) this.map?.centre(position, 0, this.detail.section);
  }

  private centre(closestZoom: number): void {
    const position = this.picked === null ? undefined : this.fleet.get(this.picked);
    if (position !== undefined) this.map?.centre(position, closestZoom, this.detail.section);
  }

  private follow(follows: boolean): void {
    this.follows = follows;
    if (follows) this.centre(CLOSE_ZOOM);
  }

  private async hearEvents(): Promise<void> {
    try {
      this.feed.hear(Math.max(0, (await newestEvent()) - EVENTS_BACK));
    } catch (error) {
      // Viewers may not hear them.
      if (!(error instanceof Problem && error.status === 403)) console.warn("Events cannot be heard.", error);
    }
  }

  private async loadStreets(address: string): Promise<void> {
    try {
      const streets = await request(address);
      if (isRecord(streets) && Array.isArray(streets["features"])) {
        this.map?.drawStreets({ type: "FeatureCollection", features: streets["features"] as GeoJSON.Feature[] });
      }
    } catch (error) {
      console.warn("The streets did not load.", error);
    }
  }
}
