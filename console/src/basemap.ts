/**
 * The ground that is always there: the world's outline (Natural Earth, public domain), bundled, so that no other host is asked.
 *
 * The style names no glyphs: MapLibre then draws text with the fonts of the browser.
 */

import type { Feature, FeatureCollection, Point, Position as Coordinates } from "geojson";
import type { GeoJSONSource, Map as MapLibreMap, StyleSpecification } from "maplibre-gl";
import { feature, mesh } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import worldAddress from "world-atlas/countries-50m.json?url";

import type { Palette } from "./palette";

export const BASE_FONTS = ["system-ui", "sans-serif"];
const EMPTY: FeatureCollection = { type: "FeatureCollection", features: [] };
const ATTRIBUTION = "Made with Natural Earth";

type World = Topology<{ land: GeometryCollection; countries: GeometryCollection<{ name: string }> }>;

export function baseStyle(palette: Palette): StyleSpecification {
  return {
    version: 8,
    sources: {
      land: { type: "geojson", data: EMPTY, maxzoom: 8, attribution: ATTRIBUTION },
      borders: { type: "geojson", data: EMPTY, maxzoom: 8 },
      countries: { type: "geojson", data: EMPTY, maxzoom: 8 },
    },
    layers: [
      { id: "water", type: "background", paint: { "background-color": palette.water } },
      { id: "land", type: "fill", source: "land", paint: { "fill-color": palette.land } },
      {
        id: "coast",
        type: "line",
        source: "land",
        paint: { "line-color": palette.border, "line-width": 0.8 },
      },
      {
        id: "borders",
        type: "line",
        source: "borders",
        paint: { "line-color": palette.border, "line-width": ["interpolate", ["linear"], ["zoom"], 2, 0.6, 8, 1.6] },
      },
      {
        id: "country-names",
        type: "symbol",
        source: "countries",
        maxzoom: 8,
        // Square degrees: from afar the names of the smallest countries would push out those of their neighbours.
        filter: [">=", ["get", "extent"], ["step", ["zoom"], 12, 3.5, 3, 6, 0]],
        layout: {
          "text-field": ["get", "name"],
          "text-font": BASE_FONTS,
          "text-size": ["interpolate", ["linear"], ["zoom"], 2, 10, 6, 15],
          "text-max-width": 7,
          "text-letter-spacing": 0.06,
          "symbol-sort-key": ["-", ["get", "extent"]],
        },
        paint: { "text-color": palette.label, "text-halo-color": palette.labelEdge, "text-halo-width": 1.2 },
      },
    ],
  };
}

/** Fills the empty sources of `baseStyle`: the page shows its vehicles before the outline has come. */
export async function loadWorld(map: MapLibreMap): Promise<void> {
  const response = await fetch(worldAddress);
  if (!response.ok) throw new Error(`The world outline answered ${response.status}.`);
  const world = (await response.json()) as World;
  const { land, countries } = world.objects;
  const put = (source: string, data: GeoJSON.GeoJSON): void => {
    void map.getSource<GeoJSONSource>(source)?.setData(data);
  };
  put("land", feature(world, land));
  put("borders", mesh(world, countries, (left, right) => left !== right));
  put("countries", { type: "FeatureCollection", features: feature(world, countries).features.flatMap(nameOf) });
}

/** A country's name at the middle of its largest ring; MapLibre itself would repeat the name in every tile. */
function nameOf(country: Feature<GeoJSON.Geometry, { name: string }>): Feature<Point>[] {
  const { geometry } = country;
  const polygons =
    geometry.type === "Polygon" ? [geometry.coordinates] : geometry.type === "MultiPolygon" ? geometry.coordinates : [];
  let largest = { extent: 0, middle: [0, 0] as Coordinates };
  for (const [ring] of polygons) {
    const measured = ring === undefined ? null : measureRing(ring);
    if (measured !== null && measured.extent > largest.extent) largest = measured;
  }
  if (largest.extent === 0) return [];
  return [
    {
      type: "Feature",
      geometry: { type: "Point", coordinates: largest.middle },
      properties: { name: country.properties.name, extent: largest.extent },
    },
  ];
}

/** Area in square degrees and centroid, by the shoelace formula. */
function measureRing(ring: readonly Coordinates[]): { extent: number; middle: Coordinates } {
  let doubled = 0;
  let lon = 0;
  let lat = 0;
  ring.forEach(([x = 0, y = 0], index) => {
    const [nextX = 0, nextY = 0] = ring[(index + 1) % ring.length] ?? [];
    const cross = x * nextY - nextX * y;
    doubled += cross;
    lon += (x + nextX) * cross;
    lat += (y + nextY) * cross;
  });
  if (doubled === 0) return { extent: 0, middle: [0, 0] };
  return { extent: Math.abs(doubled) / 2, middle: [lon / (3 * doubled), lat / (3 * doubled)] };
}
