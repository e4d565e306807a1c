/**
 * The fleet as GeoJSON features, and what of them differs from the draw before.
 *
 * MapLibre copies whatever it is given to its worker, feature by feature: of ten thousand vehicles only those that changed are handed
 * over. Each is a new object, since MapLibre keeps the one before to know which tiles it has left.
 */

import type { Feature, FeatureCollection, Point } from "geojson";

import { motionOf, type Fleet, type Motion } from "./fleet";
import type { Position } from "./position";

export interface VehicleProperties {
  device: string;
  motion: Motion;
  /** -1 where the heading is not known: style expressions have no good word for "missing". */
  heading: number;
}

export type VehicleFeature = Feature<Point, VehicleProperties>;
export type MotionCounts = Record<Motion, number>;

export interface VehicleChange {
  /** New vehicles, and those that moved, turned or changed their motion. */
  readonly changed: VehicleFeature[];
  readonly gone: string[];
}

export class VehicleFeatures {
  counts: MotionCounts = { moving: 0, standing: 0, stale: 0, silent: 0 };
  private readonly byDevice = new Map<string, VehicleFeature>();

  get size(): number {
    return this.byDevice.size;
  }

  collection(): FeatureCollection<Point, VehicleProperties> {
    return { type: "FeatureCollection", features: [...this.byDevice.values()] };
  }

  /** Brings the features up to the fleet and the clock. */
  update(fleet: Fleet, nowMillis: number): VehicleChange {
    const counts: MotionCounts = { moving: 0, standing: 0, stale: 0, silent: 0 };
    const changed: VehicleFeature[] = [];
    for (const position of fleet.positions()) {
      const motion = motionOf(position, nowMillis);
      counts[motion] += 1;
      const drawn = this.byDevice.get(position.device);
      if (drawn !== undefined && isSame(drawn, position, motion)) continue;
      const feature = featureOf(position, motion);
      this.byDevice.set(position.device, feature);
      changed.push(feature);
    }
    const gone: string[] = [];
    if (this.byDevice.size > fleet.size) {
      for (const device of this.byDevice.keys()) if (fleet.get(device) === undefined) gone.push(device);
    }
    for (const device of gone) this.byDevice.delete(device);
    this.counts = counts;
    return { changed, gone };
  }
}

function featureOf({ device, lonDeg, latDeg, headingDeg }: Position, motion: Motion): VehicleFeature {
  return {
    type: "Feature",
    geometry: { type: "Point", coordinates: [lonDeg, latDeg] },
    properties: { device, motion, heading: headingDeg ?? -1 },
  };
}

function isSame({ geometry, properties }: VehicleFeature, position: Position, motion: Motion): boolean {
  return (
    geometry.coordinates[0] === position.lonDeg &&
    geometry.coordinates[1] === position.latDeg &&
    properties.motion === motion &&
    properties.heading === (position.headingDeg ?? -1)
  );
}
