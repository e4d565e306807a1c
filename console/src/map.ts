/**
 * The map: one GeoJSON source for all vehicles, one each for the streets, the track and the picked vehicle.
 *
 * Promises: everything set before the style has come is drawn when it comes; a style of the operator that cannot be loaded is
 * replaced by the bundled outline.
 */

import type { FeatureCollection } from "geojson";
import {
  Map as MapLibreMap,
  ScaleControl,
  setWorkerUrl,
  type ExpressionSpecification,
  type GeoJSONSource,
} from "maplibre-gl";
import workerAddress from "maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url";

import { BASE_FONTS, baseStyle, loadWorld } from "./basemap";
import type { Bounds } from "./bounds";
import type { VehicleChange, VehicleFeatures } from "./features";
import { MOTIONS, type Motion } from "./fleet";
import { paint, SOURCES, VEHICLE_FILTERS, vehicleLayers, type SourceName } from "./layers";
import { readPalette } from "./palette";
import { watchPicks } from "./pick";
import type { Position } from "./position";

setWorkerUrl(workerAddress);

const EMPTY: FeatureCollection = { type: "FeatureCollection", features: [] };
// Above so many vehicles arrows only overlap each other when seen from afar; dots are told apart better and drawn faster.
const MANY_VEHICLES = 1_500;
const MANY_ARROWS_ZOOM = 10;
const CLOSEST_FIT_ZOOM = 15;

export interface MapActions {
  /** Null for a click on the ground. */
  onPick(device: string | null): void;
  onDrag(): void;
  /** The map has come to rest, wherever it was moved from. */
  onMoved(): void;
}

export class FleetMap {
  private readonly map: MapLibreMap;
  private readonly data = new Map<SourceName, FeatureCollection>();
  private ready = false;
  private vehicles: VehicleFeatures | null = null;
  private many = false;
  private picked: Position | null = null;
  private motions: ReadonlySet<Motion> = new Set(MOTIONS);

  /** @throws when the browser has no WebGL 2. */
  constructor(container: HTMLElement, mapStyle: string | null, actions: MapActions) {
    this.map = new MapLibreMap({
      container,
      style: mapStyle ?? baseStyle(readPalette()),
      center: [10, 30],
      zoom: 1.6,
      minZoom: 1,
      maxZoom: 19,
      // North stays up: an arrow's direction is read without looking for a compass.
      dragRotate: false,
      maxPitch: 0,
      attributionControl: { compact: true },
      // Vehicles jump from fix to fix; names that fade in and out four times a second would flicker.
      fadeDuration: 0,
      locale: { "Map.Title": "Map of the fleet" },
    });
    this.map.addControl(new ScaleControl({ maxWidth: 110 }), "bottom-left");
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.on("style.load", () => this.addLayers());
    let fallenBack = false;
    this.map.on("error", ({ error }) => {
      console.warn("The map reports an error.", error);
      if (this.ready || mapStyle === null || fallenBack) return;
      fallenBack = true;
      this.map.setStyle(baseStyle(readPalette()), { diff: false });
    });
    this.map.on("dragstart", () => actions.onDrag());
    this.map.on("moveend", () => actions.onMoved());
    watchPicks(this.map, (device) => actions.onPick(device));
  }

  /** Draws what changed since the call before. Resolves when the worker has taken it over. */
  async drawVehicles({ changed, gone }: VehicleChange, vehicles: VehicleFeatures): Promise<void> {
    this.vehicles = vehicles;
    if (!this.ready) return;
    this.setMany(vehicles.size > MANY_VEHICLES);
    await this.map.getSource<GeoJSONSource>("vehicles")?.updateData({ remove: gone, add: changed });
  }

  drawTrack(track: FeatureCollection | null): void {
    void this.put("track", track ?? EMPTY);
  }

  drawStreets(streets: FeatureCollection): void {
    void this.put("streets", streets);
  }

  drawPicked(position: Position | null): void {
    if (position === this.picked) return;
    this.picked = position;
    if (position === null) return void this.put("picked", EMPTY);
    const coordinates = [position.lonDeg, position.latDeg];
    void this.put("picked", {
      type: "FeatureCollection",
      features: [{ type: "Feature", geometry: { type: "Point", coordinates }, properties: {} }],
    });
  }

  /** Shows only vehicles of these motions. */
  showMotions(motions: ReadonlySet<Motion>): void {
    this.motions = motions;
    if (!this.ready) return;
    const all = motions.size === MOTIONS.length;
    for (const [layer, filter] of Object.entries(VEHICLE_FILTERS)) {
      const chosen = ["in", ["get", "motion"], ["literal", [...motions]]] as ExpressionSpecification;
      this.map.setFilter(layer, all ? filter : ["all", filter, chosen]);
    }
  }

  fit(bounds: Bounds, animated: boolean): void {
    const padding = Math.min(56, this.map.getContainer().clientWidth / 12);
    this.map.fitBounds(bounds, { padding, maxZoom: CLOSEST_FIT_ZOOM, animate: animated });
  }

  /** What the map shows; its longitudes count on beyond the antimeridian. */
  bounds(): Bounds {
    const shown = this.map.getBounds();
    return [shown.getWest(), shown.getSouth(), shown.getEast(), shown.getNorth()];
  }

  /** Brings a vehicle into the middle of what the panel leaves free, and closer when the map shows it from far away. */
  centre(position: Position, closestZoom: number, panel: HTMLElement): void {
    const zoom = Math.max(this.map.getZoom(), closestZoom);
    const offset = this.freeMiddle(panel);
    this.map.easeTo({ center: [position.lonDeg, position.latDeg], zoom, offset, duration: 500 });
  }

  zoomIn(): void {
    this.map.zoomIn();
  }

  zoomOut(): void {
    this.map.zoomOut();
  }

  /** To be called after the theme has changed. */
  repaint(): void {
    if (this.ready) paint(this.map, readPalette());
  }

  resize(): void {
    this.map.resize();
  }

  private addLayers(): void {
    const palette = readPalette();
    for (const source of SOURCES) {
      this.map.addSource(source, { type: "geojson", data: this.data.get(source) ?? EMPTY });
    }
    const data = this.vehicles?.collection() ?? EMPTY;
    this.map.addSource("vehicles", { type: "geojson", data, promoteId: "device" });
    for (const layer of vehicleLayers(this.fonts())) this.map.addLayer(layer);
    this.ready = true;
    paint(this.map, palette);
    this.setMany((this.vehicles?.size ?? 0) > MANY_VEHICLES, true);
    this.showMotions(this.motions);
    if (this.map.getSource("countries") !== undefined) {
      loadWorld(this.map).catch((error: unknown) => console.warn("The world outline did not load.", error));
    }
  }

  /** With glyphs of its own, a style can only write in the fonts it brings; without, the browser's are used. */
  private fonts(): string[] {
    const { glyphs, layers } = this.map.getStyle();
    if (glyphs === undefined) return BASE_FONTS;
    for (const layer of layers) {
      const fonts: unknown = layer.type === "symbol" ? layer.layout?.["text-font"] : undefined;
      // An expression is an array too; its first word is an operator.
      if (isTextArray(fonts) && fonts[0] !== "literal") return fonts;
    }
    return BASE_FONTS;
  }

  /** Pixels from the map's middle to the middle of its part that the panel does not cover. */
  private freeMiddle(panel: HTMLElement): [number, number] {
    const covering = panel.getBoundingClientRect();
    const whole = this.map.getContainer().getBoundingClientRect();
    if (covering.width === 0 || covering.bottom <= whole.top || covering.top >= whole.bottom) return [0, 0];
    // On a phone the panel is a sheet over the whole width, else a card at the right.
    if (covering.width > whole.width * 0.8) return [0, (covering.top - whole.bottom) / 2];
    return [(covering.left - whole.right) / 2, 0];
  }

  private async put(source: SourceName, data: FeatureCollection): Promise<void> {
    this.data.set(source, data);
    if (this.ready) await this.map.getSource<GeoJSONSource>(source)?.setData(data);
  }

  private setMany(many: boolean, force = false): void {
    if (many === this.many && !force) return;
    this.many = many;
    if (!this.ready) return;
    this.map.setLayerZoomRange("vehicle-arrows", many ? MANY_ARROWS_ZOOM : 0, 24);
    this.map.setLayerZoomRange("vehicle-far-arrows", 0, many ? MANY_ARROWS_ZOOM : 0);
  }
}

function isTextArray(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((part) => typeof part === "string");
}
