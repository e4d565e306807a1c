//! Parts of the map, and which devices stand in one: a hash grid over 1e-7 degree integers.
//!
//! A move within the grid costs a few tens of nanoseconds, and only the cells that an area touches are looked at. An
//! area may cross the antimeridian; the meridians 180 and -180 are one line, and both spellings lie in an area that
//! touches it.

use rustc_hash::FxHashMap;

/// 0.088 degrees, about 10 km: a town's viewport touches a handful of cells, and a cell of a dense fleet stays small.
const CELL_E7: i32 = 880_000;
/// 180 degrees.
const HALF_TURN_E7: i32 = 1_800_000_000;

/// A part of the map between two parallels and two meridians, edges included, in 1e-7 degrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Area {
    /// Its western edge. An area whose west lies east of its east crosses the antimeridian.
    pub west_e7: i32,
    /// Its southern edge.
    pub south_e7: i32,
    /// Its eastern edge.
    pub east_e7: i32,
    /// Its northern edge.
    pub north_e7: i32,
}

impl Area {
    /// Whether a place lies in the area.
    #[inline]
    pub fn contains(&self, lat_e7: i32, lon_e7: i32) -> bool {
        let is_beside = |lon_e7: i32| {
            if self.west_e7 <= self.east_e7 {
                self.west_e7 <= lon_e7 && lon_e7 <= self.east_e7
            } else {
                self.west_e7 <= lon_e7 || lon_e7 <= self.east_e7
            }
        };
        self.south_e7 <= lat_e7
            && lat_e7 <= self.north_e7
            && (is_beside(lon_e7) || (lon_e7.abs() == HALF_TURN_E7 && is_beside(-lon_e7)))
    }

    /// The area's longitudes as spans that do not cross the antimeridian, with both spellings of the meridian there.
    fn lon_spans(&self) -> [Option<(i32, i32)>; 2] {
        if self.west_e7 > self.east_e7 {
            return [Some((self.west_e7, HALF_TURN_E7)), Some((-HALF_TURN_E7, self.east_e7))];
        }
        let across = if self.east_e7 == HALF_TURN_E7 {
            Some((-HALF_TURN_E7, -HALF_TURN_E7))
        } else if self.west_e7 == -HALF_TURN_E7 {
            Some((HALF_TURN_E7, HALF_TURN_E7))
        } else {
            None
        };
        [Some((self.west_e7, self.east_e7)), across]
    }
}

/// (row, column) of a cell.
type Cell = (i32, i32);

/// Where members stand, by cell. A member is a small number that means something to the owner.
#[derive(Debug, Default)]
pub struct Grid {
    cells: FxHashMap<Cell, Vec<u32>>,
}

impl Grid {
    /// Puts a member that is not in the grid at a place.
    pub fn insert(&mut self, member: u32, lat_e7: i32, lon_e7: i32) {
        self.cells.entry(cell(lat_e7, lon_e7)).or_default().push(member);
    }

    /// Moves a member from the place where it was put last. Within a cell nothing is to be done.
    pub fn shift(&mut self, member: u32, from: (i32, i32), to: (i32, i32)) {
        let (old, new) = (cell(from.0, from.1), cell(to.0, to.1));
        if old == new {
            return;
        }
        if let Some(members) = self.cells.get_mut(&old) {
            if let Some(at) = members.iter().position(|known| *known == member) {
                members.swap_remove(at);
            }
            if members.is_empty() {
                self.cells.remove(&old);
            }
        }
        self.cells.entry(new).or_default().push(member);
    }

    /// Number of cells that a search of the area would look at, occupied or not.
    pub fn cells_of(area: &Area) -> u64 {
        let span = |low: i32, high: i32| u64::from(column(high).abs_diff(column(low))) + 1;
        let columns: u64 = area.lon_spans().into_iter().flatten().map(|(west, east)| span(west, east)).sum();
        span(area.south_e7, area.north_e7.max(area.south_e7)) * columns
    }

    /// Calls `found` with every member whose cell the area touches: all that stand in the area, and some beside it. One
    /// whose cell is touched from both sides is found twice.
    pub fn search(&self, area: &Area, mut found: impl FnMut(u32)) {
        for (west_e7, east_e7) in area.lon_spans().into_iter().flatten() {
            for row in column(area.south_e7)..=column(area.north_e7) {
                for at in column(west_e7)..=column(east_e7) {
                    for member in self.cells.get(&(row, at)).into_iter().flatten() {
                        found(*member);
                    }
                }
            }
        }
    }
}

fn cell(lat_e7: i32, lon_e7: i32) -> Cell {
    (column(lat_e7), column(lon_e7))
}

fn column(degrees_e7: i32) -> i32 {
    degrees_e7.div_euclid(CELL_E7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIJI: Area =
        Area { west_e7: 1_770_000_000, south_e7: -200_000_000, east_e7: -1_780_000_000, north_e7: -160_000_000 };

    /// Degrees that meet often: multiples of a cell's edge and their neighbours, and the ends.
    fn lon() -> impl Strategy<Value = i32> {
        prop_oneof![
            -HALF_TURN_E7..=HALF_TURN_E7,
            (-3..4_i32, -1..2_i32).prop_map(|(cells, off)| cells * CELL_E7 + off),
            (0..3_i32).prop_map(|off| HALF_TURN_E7 - off),
            (0..3_i32).prop_map(|off| off - HALF_TURN_E7),
        ]
    }

    fn lat() -> impl Strategy<Value = i32> {
        prop_oneof![-900_000_000..=900_000_000, (-3..4_i32, -1..2_i32).prop_map(|(cells, off)| cells * CELL_E7 + off)]
    }

    fn area() -> impl Strategy<Value = Area> {
        (lon(), lat(), lon(), lat()).prop_map(|(west_e7, south, east_e7, north)| Area {
            west_e7,
            south_e7: south.min(north),
            east_e7,
            north_e7: south.max(north),
        })
    }

    #[test]
    fn an_area_may_cross_the_antimeridian() {
        for (lon_e7, expected) in [(1_790_000_000, true), (-1_790_000_000, true), (1_760_000_000, false), (0, false)] {
            assert_eq!(FIJI.contains(-180_000_000, lon_e7), expected, "{lon_e7}");
        }
        assert!(FIJI.contains(-180_000_000, HALF_TURN_E7) && FIJI.contains(-180_000_000, -HALF_TURN_E7));
        let west_of_it = Area { west_e7: 1_700_000_000, east_e7: HALF_TURN_E7, ..FIJI };
        assert!(west_of_it.contains(-180_000_000, -HALF_TURN_E7), "180 and -180 are one meridian");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The oracle turns the globe until the western edge is 0.
        #[test]
        fn contains_what_lies_east_of_the_west_and_west_of_the_east(area in area(), lat_e7 in lat(), lon_e7 in lon()) {
            let turned = |lon_e7: i32| (i64::from(lon_e7) - i64::from(area.west_e7)).rem_euclid(3_600_000_000);
            let width = match (i64::from(area.east_e7) - i64::from(area.west_e7)).rem_euclid(3_600_000_000) {
                0 if area.west_e7 != area.east_e7 => 3_600_000_000 * i64::from(area.west_e7 < area.east_e7),
                width => width,
            };
            let expected = area.south_e7 <= lat_e7 && lat_e7 <= area.north_e7 && turned(lon_e7) <= width;
            prop_assert_eq!(area.contains(lat_e7, lon_e7), expected);
        }

        /// The oracle looks at everybody.
        #[test]
        fn a_search_misses_nobody(
            area in area(),
            walks in prop::collection::vec((lat(), lon(), lat(), lon()), 1..40),
        ) {
            // What makes a search wrong happens at edges, not in the midst of a million cells.
            let area = Area { north_e7: area.north_e7.min(area.south_e7.saturating_add(2 * CELL_E7)), ..area };
            let mut grid = Grid::default();
            for (member, (lat_e7, lon_e7, ..)) in (0..).zip(&walks) {
                grid.insert(member, *lat_e7, *lon_e7);
            }
            for (member, (from_lat, from_lon, lat_e7, lon_e7)) in (0..).zip(&walks) {
                grid.shift(member, (*from_lat, *from_lon), (*lat_e7, *lon_e7));
            }
            let mut found = Vec::new();
            grid.search(&area, |member| found.push(member));
            for (member, (_, _, lat_e7, lon_e7)) in (0..).zip(&walks) {
                prop_assert!(!area.contains(*lat_e7, *lon_e7) || found.contains(&member));
            }
        }
    }
}
