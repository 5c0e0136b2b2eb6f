//! The layout of a graph in ranks, by the method of Sugiyama: lines run downwards, those that pass ranks get a place of their own in each,
//! the order within a rank is swept until lines cross little, and the positions until lines are as straight as the order allows.
//!
//! It is written here because a page has to come out the same, byte for byte, whenever it is made of the same plan. Everything is done in
//! the order of the boxes, which must be one in which all lines run forwards.

/// A box to be placed.
#[derive(Debug, Clone)]
pub struct Box {
    pub width: f64,
    pub height: f64,
    /// Distances from the left edge at which lines leave its lower edge.
    pub ports: Vec<f64>,
    /// It has no box before it and stands near the first that reads it, instead of at the top.
    pub is_source: bool,
}

/// A line from a port of a box to a later box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub from: usize,
    pub port: usize,
    pub to: usize,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    pub width: f64,
    pub height: f64,
    /// Upper left corners.
    pub boxes: Vec<(f64, f64)>,
    /// SVG paths.
    pub lines: Vec<String>,
}

const GAP_X: f64 = 16.0;
const GAP_Y: f64 = 30.0;
const MARGIN: f64 = 6.0;
const SWEEPS: usize = 12;
const PULLS: usize = 100;
/// How much a line wants to be straight: most where it passes ranks, least where it turns into such a passage or comes from a source.
const PASSING: f64 = 8.0;
const SHORT: f64 = 4.0;
const TURNING: f64 = 0.04;
/// How much a place wants to stay that has been set.
const SET: f64 = 1e6;

/// A place in a rank: a box, or a line that passes.
#[derive(Debug, Clone)]
struct Place {
    rank: usize,
    width: f64,
    is_source: bool,
    x: f64,
    is_set: bool,
    up: Vec<Joint>,
    down: Vec<Joint>,
}

impl Place {
    const fn new(rank: usize, width: f64, is_source: bool) -> Self {
        Place { rank, width, is_source, x: 0.0, is_set: false, up: Vec::new(), down: Vec::new() }
    }
}

/// A piece of a line as one of its ends sees it.
#[derive(Debug, Clone, Copy)]
struct Joint {
    other: usize,
    /// Distances from the centres, of this place and of the other.
    own: f64,
    far: f64,
    weight: f64,
}

/// Places boxes and lines.
pub fn layout(boxes: &[Box], lines: &[Line]) -> Drawn {
    let ranks = ranks(boxes, lines);
    let mut places: Vec<Place> =
        boxes.iter().zip(&ranks).map(|(b, rank)| Place::new(*rank, b.width, b.is_source)).collect();
    let chains: Vec<Vec<usize>> = lines.iter().map(|line| chain(boxes, &mut places, line)).collect();
    let count = places.iter().map(|place| place.rank + 1).max().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, place) in places.iter().enumerate() {
        rows[place.rank].push(at);
    }
    order(&places, &mut rows);
    // Pulled from one side only, all of a long line follows at once; pulled from both, everything finds its middle.
    for pull in 0..PULLS {
        straighten(&mut places, &rows, pull % 2 == 0, pull >= SWEEPS);
    }
    for chain in &chains {
        set(&mut places, &rows, &chain[1..chain.len() - 1]);
    }
    for pull in 0..PULLS {
        straighten(&mut places, &rows, pull % 2 == 0, true);
    }
    finish(boxes, lines, &places, &rows, &chains)
}

/// The rank of each box: below all that it reads. A source is two ranks above its first reader, because right above that stands what
/// the reader reads besides, which may be wide.
fn ranks(boxes: &[Box], lines: &[Line]) -> Vec<usize> {
    let mut ranks: Vec<usize> = boxes.iter().map(|b| usize::from(!b.is_source)).collect();
    for to in 0..boxes.len() {
        let above = lines.iter().filter(|line| line.to == to).map(|line| ranks[line.from] + 1);
        ranks[to] = above.max().unwrap_or(0).max(ranks[to]);
    }
    for from in (0..boxes.len()).filter(|at| boxes[*at].is_source) {
        let below = lines.iter().filter(|line| line.from == from).map(|line| ranks[line.to]);
        ranks[from] = below.min().map_or(0, |rank| rank.saturating_sub(2));
    }
    let first = ranks.iter().copied().min().unwrap_or(0);
    ranks.into_iter().map(|rank| rank - first).collect()
}

/// Makes the places at which a line passes ranks, and joins them; the places from its one end to the other.
fn chain(boxes: &[Box], places: &mut Vec<Place>, line: &Line) -> Vec<usize> {
    let mut chain = vec![line.from];
    for rank in places[line.from].rank + 1..places[line.to].rank {
        chain.push(places.len());
        places.push(Place::new(rank, 8.0, boxes[line.from].is_source));
    }
    chain.push(line.to);
    let leaves = boxes[line.from].ports.get(line.port).map_or(0.0, |port| port - boxes[line.from].width / 2.0);
    for (at, pair) in chain.windows(2).enumerate() {
        let own = if at == 0 { leaves } else { 0.0 };
        let ends = usize::from(at == 0) + usize::from(at + 2 == chain.len());
        let weight = match ends {
            0 => PASSING,
            2 if !boxes[line.from].is_source => SHORT,
            _ => TURNING,
        };
        places[pair[0]].down.push(Joint { other: pair[1], own, far: 0.0, weight });
        places[pair[1]].up.push(Joint { other: pair[0], own: 0.0, far: own, weight });
    }
    chain
}

/// Sorts each rank by the middle of what its places are joined to, down and up in turn, and keeps the best order seen.
fn order(places: &[Place], rows: &mut Vec<Vec<usize>>) {
    let mut best = (crossings(places, rows), rows.clone());
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let numbers: Vec<usize> = if down { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for number in numbers {
            let at = positions(places, rows);
            let middle = |place: &usize| {
                let all = if down { &places[*place].up } else { &places[*place].down };
                // A source goes where its readers are, not they to it.
                let joints = || all.iter().filter(|joint| !places[joint.other].is_source);
                let sum: f64 = joints().map(|joint| at[joint.other] + joint.far / 10_000.0).sum();
                if joints().count() == 0 { at[*place] } else { sum / joints().count() as f64 }
            };
            let mut sorted: Vec<(f64, usize)> = rows[number].iter().map(|place| (middle(place), *place)).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[number] = sorted.into_iter().map(|(_, place)| place).collect();
        }
        let now = crossings(places, rows);
        if now < best.0 {
            best = (now, rows.clone());
        }
    }
    *rows = best.1;
}

/// The number of each place in its rank.
fn positions(places: &[Place], rows: &[Vec<usize>]) -> Vec<f64> {
    let mut at = vec![0.0; places.len()];
    for row in rows {
        for (number, place) in row.iter().enumerate() {
            at[*place] = number as f64;
        }
    }
    at
}

fn crossings(places: &[Place], rows: &[Vec<usize>]) -> usize {
    let at = positions(places, rows);
    let mut count = 0;
    for row in rows {
        let end = |place: usize, joint: &Joint| (at[place] + joint.own / 10_000.0, at[joint.other]);
        let ends: Vec<_> = row.iter().flat_map(|p| places[*p].down.iter().map(|joint| end(*p, joint))).collect();
        for (number, a) in ends.iter().enumerate() {
            count += ends[number + 1..].iter().filter(|b| (a.0 - b.0) * (a.1 - b.1) < 0.0).count();
        }
    }
    count
}

/// Moves the places of each rank, from the first or from the last, to where their lines want them, as far as their order and widths allow.
fn straighten(places: &mut [Place], rows: &[Vec<usize>], down: bool, both: bool) {
    let numbers: Vec<usize> = if down { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
    for number in numbers {
        let row = &rows[number];
        let wish = |place: &Place| {
            let joints = || place.up.iter().filter(|_| down || both).chain(place.down.iter().filter(|_| !down || both));
            let weight: f64 = joints().map(|joint| joint.weight).sum();
            let sum: f64 = joints().map(|j| (places[j.other].x + j.far - j.own) * j.weight).sum();
            match weight {
                _ if place.is_set => (place.x, SET),
                0.0 => (place.x, TURNING),
                weight => (sum / weight, weight),
            }
        };
        let wishes: Vec<(f64, f64)> = row.iter().map(|place| wish(&places[*place])).collect();
        let widths: Vec<f64> = row.iter().map(|place| places[*place].width).collect();
        for (place, x) in row.iter().zip(nearest(&wishes, &widths)) {
            places[*place].x = x;
        }
    }
}

/// Sets the places at which a line passes ranks one below the other, at their right or at their left, if nothing is in the way.
fn set(places: &mut [Place], rows: &[Vec<usize>], passed: &[usize]) {
    let at = |place: &usize| places[*place].x;
    let right = passed.iter().map(at).fold(f64::NEG_INFINITY, f64::max);
    let left = passed.iter().map(at).fold(f64::INFINITY, f64::min);
    let is_free = |x: f64| {
        passed.iter().all(|place| {
            let row = &rows[places[*place].rank];
            let own = row.iter().position(|other| other == place).unwrap_or(0);
            let apart = |a: usize, b: usize| (places[a].width + places[b].width) / 2.0 + GAP_X - 0.01;
            let after = row.get(own + 1).is_none_or(|next| places[*next].x - x >= apart(*place, *next));
            let before = own == 0 || x - places[row[own - 1]].x >= apart(*place, row[own - 1]);
            after && before
        })
    };
    let Some(x) = [right, left].into_iter().find(|x| is_free(*x)) else { return };
    for place in passed {
        (places[*place].x, places[*place].is_set) = (x, true);
    }
}

/// The centres in their order, apart by their widths, whose weighted squared distances from the wishes are least: isotonic regression by
/// pooling adjacent violators.
fn nearest(wishes: &[(f64, f64)], widths: &[f64]) -> Vec<f64> {
    let mut offsets = vec![0.0];
    for pair in widths.windows(2) {
        offsets.push(offsets[offsets.len() - 1] + (pair[0] + pair[1]) / 2.0 + GAP_X);
    }
    // Pools of neighbours that move together: mean, weight, count.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for ((wish, weight), offset) in wishes.iter().zip(&offsets) {
        let mut pool = (wish - offset, *weight, 1);
        while let Some(last) = pools.last().copied().filter(|last| last.0 > pool.0) {
            pools.pop();
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    let means = pools.iter().flat_map(|(mean, _, count)| std::iter::repeat_n(*mean, *count));
    means.zip(&offsets).map(|(mean, offset)| mean + offset).collect()
}

fn finish(boxes: &[Box], lines: &[Line], places: &[Place], rows: &[Vec<usize>], chains: &[Vec<usize>]) -> Drawn {
    let left = places.iter().map(|place| place.x - place.width / 2.0).fold(f64::INFINITY, f64::min) - MARGIN;
    let right = places.iter().map(|place| place.x + place.width / 2.0).fold(f64::NEG_INFINITY, f64::max) + MARGIN;
    let height_of = |place: usize| boxes.get(place).map_or(0.0, |b| b.height);
    let mut tops = Vec::new();
    let mut y = MARGIN;
    for row in rows {
        let height = row.iter().map(|place| height_of(*place)).fold(0.0, f64::max);
        tops.push((y, height));
        y += height + GAP_Y;
    }
    let corner = |at: usize| (round(places[at].x - boxes[at].width / 2.0 - left), round(tops[places[at].rank].0));
    let corners: Vec<(f64, f64)> = (0..boxes.len()).map(corner).collect();
    let paths = lines.iter().zip(chains).enumerate().map(|(number, (line, chain))| {
        let start = boxes[line.from].ports.get(line.port).map_or(boxes[line.from].width / 2.0, |port| *port);
        let from = (corners[line.from].0 + start, corners[line.from].1 + boxes[line.from].height);
        let mut points = vec![from];
        for passed in &chain[1..chain.len() - 1] {
            let (top, height) = tops[places[*passed].rank];
            points.extend([(places[*passed].x - left, top), (places[*passed].x - left, top + height)]);
        }
        let (rank, of) = entry(lines, chains, places, number);
        let to = corners[line.to];
        points.push((to.0 + boxes[line.to].width * rank / of, to.1));
        path(&points)
    });
    let paths = paths.collect();
    if places.is_empty() {
        return Drawn { width: 0.0, height: 0.0, boxes: Vec::new(), lines: paths };
    }
    Drawn { width: round(right - left), height: round(y - GAP_Y + MARGIN), boxes: corners, lines: paths }
}

/// Where along the upper edge of its box a line ends, as a part of the whole: lines into one box keep the order in which they come.
fn entry(lines: &[Line], chains: &[Vec<usize>], places: &[Place], number: usize) -> (f64, f64) {
    let before = |at: usize| {
        let last = chains[at][chains[at].len() - 2];
        let joint = if last == lines[at].from { lines[at].port as f64 } else { 0.0 };
        (places[last].x, joint)
    };
    let own = before(number);
    let same = (0..lines.len()).filter(|at| lines[*at].to == lines[number].to);
    let (mut less, mut all) = (0, 0);
    for at in same {
        let other = before(at);
        all += 1;
        less += usize::from(other < own || (other == own && at < number));
    }
    ((less + 1) as f64, (all + 1) as f64)
}

/// A curve through the points that leaves and reaches each of them vertically.
fn path(points: &[(f64, f64)]) -> String {
    let mut text = format!("M{} {}", round(points[0].0), round(points[0].1));
    for pair in points.windows(2) {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (round(x), round(y)));
        if (x0 - x1).abs() < 0.5 {
            text.push_str(&format!("L{x1} {y1}"));
        } else {
            let middle = round((y0 + y1) / 2.0);
            text.push_str(&format!("C{x0} {middle} {x1} {middle} {x1} {y1}"));
        }
    }
    text
}

/// To a tenth of a pixel.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(widths: &[f64]) -> Vec<Box> {
        let of = |width: &f64| Box { width: *width, height: 20.0, ports: vec![width / 2.0], is_source: false };
        widths.iter().map(of).collect()
    }

    fn line(from: usize, to: usize) -> Line {
        Line { from, port: 0, to }
    }

    #[test]
    fn nothing_overlaps_and_lines_run_down() {
        // A chain with a branch, and a line that passes both.
        let boxes = boxes(&[100.0, 80.0, 120.0, 90.0, 60.0]);
        let lines = [line(0, 1), line(0, 2), line(1, 3), line(2, 3), line(3, 4), line(0, 4)];
        let drawn = layout(&boxes, &lines);
        for line in lines {
            assert!(drawn.boxes[line.from].1 + 20.0 < drawn.boxes[line.to].1, "{line:?}: {drawn:?}");
        }
        let [one, two] = [1, 2].map(|at| (drawn.boxes[at].0, drawn.boxes[at].0 + boxes[at].width));
        assert_eq!(drawn.boxes[1].1, drawn.boxes[2].1);
        assert!(one.1 + GAP_X <= two.0 + 0.2 || two.1 + GAP_X <= one.0 + 0.2, "{one:?} {two:?}");
        assert!(
            drawn.boxes.iter().zip(&boxes).all(|(at, b)| at.0 >= 0.0 && at.0 + b.width <= drawn.width),
            "{drawn:?}"
        );
        assert_eq!(drawn, layout(&boxes, &lines), "the same again");
    }

    #[test]
    fn a_chain_is_straight() {
        let drawn = layout(&boxes(&[100.0, 40.0, 70.0]), &[line(0, 1), line(1, 2)]);
        assert!(drawn.lines.iter().all(|path| !path.contains('C')), "{drawn:?}");
    }

    #[test]
    fn a_source_stands_near_its_reader() {
        let mut boxes = boxes(&[50.0, 50.0, 50.0, 50.0, 50.0]);
        boxes[2].is_source = true;
        let drawn = layout(&boxes, &[line(0, 1), line(1, 3), line(3, 4), line(2, 4)]);
        assert_eq!(drawn.boxes[2].1, drawn.boxes[1].1);
    }

    #[test]
    fn no_box_is_an_empty_drawing() {
        assert_eq!(layout(&[], &[]), Drawn { width: 0.0, height: 0.0, boxes: Vec::new(), lines: Vec::new() });
    }

    #[test]
    fn wishes_are_kept_as_far_as_there_is_room() {
        assert_eq!(nearest(&[(0.0, 1.0), (200.0, 1.0)], &[10.0, 10.0]), [0.0, 200.0]);
        let pushed = nearest(&[(0.0, 1.0), (0.0, 1.0)], &[10.0, 10.0]);
        assert_eq!(pushed, [-13.0, 13.0]);
    }
}
