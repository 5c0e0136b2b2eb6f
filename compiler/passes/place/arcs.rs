//! Arcs of the search: the transitions that a call makes possible from a state, given the placements of the values it reads.

use rustc_hash::FxHashMap;

use bitnetc_plan::op::ToMemoryConfig;
use bitnetc_plan::ttnn::check;
use bitnetc_plan::{Cost, MemoryConfig, Op, Ref};

use crate::schedule::ValueId;
use crate::ttnn::cost::{self, Price};
use crate::ttnn::{Candidate, Context};

/// A placement as a number, so that states are small and fast to compare.
pub type PlacementId = u16;

/// A value and its placement.
pub type Located = (ValueId, PlacementId);

/// The reshard of one value before a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshard {
    /// The value.
    pub value: ValueId,
    /// Its new placement.
    pub to: PlacementId,
    /// Whether the new tensor replaces the old one for later readers.
    pub replaces: bool,
}

/// One transition from a state to the next: a candidate, and the reshards before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arc {
    /// Index of the candidate.
    pub candidate: usize,
    /// The values moved before it.
    pub reshards: Vec<Reshard>,
    /// New placements of values that live on.
    pub moved: Vec<Located>,
    /// Placements of the outputs.
    pub made: Vec<Located>,
    /// The price of the candidate and the reshards.
    pub price: Price,
    /// L1 bytes per core on top of the live tensors.
    pub peak: u64,
}

/// A priced reshard.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    /// Predicted time.
    pub price: Price,
    /// Circular buffers and the new tensor, L1 bytes per core.
    pub peak: u64,
    /// The new tensor alone.
    pub bytes: u64,
}

/// Placements by number, their sizes, and the reshards between them.
pub struct Placements<'a> {
    cx: &'a Context<'a>,
    all: Vec<MemoryConfig>,
    ids: FxHashMap<MemoryConfig, PlacementId>,
    bytes: FxHashMap<Located, u64>,
    moves: FxHashMap<(ValueId, PlacementId, PlacementId), Option<Move>>,
}

impl<'a> Placements<'a> {
    pub fn new(cx: &'a Context<'a>) -> Self {
        Placements {
            cx,
            all: Vec::new(),
            ids: FxHashMap::default(),
            bytes: FxHashMap::default(),
            moves: FxHashMap::default(),
        }
    }

    /// The number of a placement.
    pub fn id(&mut self, memory: &MemoryConfig) -> PlacementId {
        if let Some(id) = self.ids.get(memory) {
            return *id;
        }
        let id = self.all.len() as PlacementId;
        self.all.push(memory.clone());
        self.ids.insert(memory.clone(), id);
        id
    }

    /// The placement of a number.
    pub fn get(&self, id: PlacementId) -> &MemoryConfig {
        &self.all[usize::from(id)]
    }

    /// L1 bytes per core of a value in a placement.
    pub fn bytes(&mut self, located: Located) -> u64 {
        if let Some(bytes) = self.bytes.get(&located) {
            return *bytes;
        }
        let spec = self.cx.spec(located.0, self.get(located.1).clone());
        let bytes = self.cx.l1_bytes(&spec);
        self.bytes.insert(located, bytes);
        bytes
    }

    /// The reshard of a value from one placement to another; `None` when TT-NN refuses it.
    pub fn reshard(&mut self, value: ValueId, from: PlacementId, to: PlacementId) -> Option<Move> {
        if let Some(known) = self.moves.get(&(value, from, to)) {
            return *known;
        }
        let priced = self.price_reshard(value, from, to);
        self.moves.insert((value, from, to), priced);
        priced
    }

    fn price_reshard(&mut self, value: ValueId, from: PlacementId, to: PlacementId) -> Option<Move> {
        let (cost, circular_buffers) = reshard_cost(self.cx, value, self.get(from), self.get(to))?;
        let bytes = self.bytes((value, to));
        Some(Move { price: Price::of(&cost), peak: circular_buffers + bytes, bytes })
    }
}

/// Predicted cost and circular-buffer bytes of a reshard, if TT-NN accepts it.
pub fn reshard_cost(cx: &Context<'_>, value: ValueId, from: &MemoryConfig, to: &MemoryConfig) -> Option<(Cost, u64)> {
    let spec = cx.spec(value, from.clone());
    let op: Op = ToMemoryConfig { input: Ref::Value(String::new()), memory: to.clone() }.into();
    let outcome = check(&op, &[&spec], &cx.target.card).ok()?;
    Some((cost::cost(&op, &[&spec], &outcome, cx), outcome.circular_buffers))
}

/// A candidate with its placements as numbers.
#[derive(Debug, Clone)]
pub struct Way {
    requires: Vec<PlacementId>,
    made: Vec<Located>,
    price: Price,
    peak: u64,
}

impl Way {
    /// The candidates of a call that makes `outputs`.
    pub fn all(placements: &mut Placements<'_>, candidates: &[Candidate], outputs: &[ValueId]) -> Vec<Way> {
        let way = |c: &Candidate| Way {
            requires: c.requires.iter().map(|memory| placements.id(memory)).collect(),
            made: outputs.iter().zip(&c.produces).map(|(v, spec)| (*v, placements.id(&spec.memory))).collect(),
            price: c.price,
            peak: c.peak,
        };
        candidates.iter().map(way).collect()
    }
}

/// The values that a call reads, and their properties at this place of the section. All slices have the same length.
pub struct CallInputs<'a> {
    /// The values in the order in which the call reads them; one value may occur twice.
    pub values: &'a [ValueId],
    /// Whether each is read again later.
    pub survives: &'a [bool],
    /// Whether each must keep its placement, because the loop over layers relies on it.
    pub pinned: &'a [bool],
    /// Whether the call writes each in place, so that a moved copy could not replace it.
    pub written: &'a [bool],
}

/// All arcs of a call whose inputs are in the placements `at`, without those that another arc beats in both price and L1.
pub fn arcs(placements: &mut Placements<'_>, ways: &[Way], inputs: &CallInputs<'_>, at: &[PlacementId]) -> Vec<Arc> {
    let mut fronts: FxHashMap<(Vec<Located>, Vec<Located>), Vec<Arc>> = FxHashMap::default();
    let mut order = Vec::new();
    for (index, way) in ways.iter().enumerate() {
        for arc in arcs_of(placements, index, way, inputs, at) {
            let key = (arc.moved.clone(), arc.made.clone());
            let front = fronts.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                Vec::new()
            });
            if front.iter().any(|other| other.price <= arc.price && other.peak <= arc.peak) {
                continue;
            }
            front.retain(|other| !(arc.price <= other.price && arc.peak <= other.peak));
            front.push(arc);
        }
    }
    order.into_iter().flat_map(|key| fronts.remove(&key).unwrap_or_default()).collect()
}

/// The arcs of one candidate. Each moved value that lives on either replaces its original or is a temporary copy.
fn arcs_of(
    placements: &mut Placements<'_>,
    index: usize,
    way: &Way,
    inputs: &CallInputs<'_>,
    at: &[PlacementId],
) -> Vec<Arc> {
    let mut reshards: Vec<Reshard> = Vec::new();
    let (mut price, mut copies, mut worst_move) = (way.price, 0, 0);
    for (operand, value) in inputs.values.iter().enumerate() {
        let to = way.requires[operand];
        if to == at[operand] {
            continue;
        }
        if inputs.written[operand] {
            return Vec::new();
        }
        if let Some(earlier) = reshards.iter().find(|r| r.value == *value) {
            if earlier.to == to {
                continue;
            }
            return Vec::new();
        }
        let Some(step) = placements.reshard(*value, at[operand], to) else { return Vec::new() };
        worst_move = worst_move.max(copies + step.peak);
        copies += step.bytes;
        price = price + step.price;
        reshards.push(Reshard { value: *value, to, replaces: false });
    }
    let peak = worst_move.max(copies + way.peak);
    let plain = Arc { candidate: index, reshards, moved: Vec::new(), made: way.made.clone(), price, peak };
    let mut arcs = vec![plain];
    for at in 0..arcs[0].reshards.len() {
        let value = arcs[0].reshards[at].value;
        let operand = inputs.values.iter().position(|v| *v == value).unwrap_or(0);
        if !inputs.survives[operand] || inputs.pinned[operand] {
            continue;
        }
        let replacing: Vec<Arc> = arcs
            .iter()
            .map(|arc| {
                let mut arc = arc.clone();
                arc.reshards[at].replaces = true;
                arc.moved.push((value, arc.reshards[at].to));
                arc
            })
            .collect();
        arcs.extend(replacing);
    }
    arcs
}
