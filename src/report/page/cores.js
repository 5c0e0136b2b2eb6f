// Where a tensor lies: its shards on the grid of cores, or in the banks of DRAM.

/** The cores of a shard spec in shard order. */
function* coresOf(ranges) {
  for (const { start, end } of ranges) {
    for (let y = start[1]; y <= end[1]; y++) for (let x = start[0]; x <= end[0]; x++) yield [x, y];
  }
}

/** Rows and columns of the tensor as a matrix, padded to tiles. */
function matrix({ shape, layout }) {
  const tiled = (n) => (layout === "Tile" ? Math.ceil(n / 32) * 32 : n);
  const columns = tiled(shape.at(-1) ?? 1);
  const rows = tiled(shape.at(-2) ?? 1) * shape.slice(0, -2).reduce((a, b) => a * b, 1);
  return { rows, columns };
}

/** The rows and columns that a shard holds. */
function part(spec, { strategy, shard }, number) {
  const { rows, columns } = matrix(spec);
  const span = (at, size, all) => (at * size < all ? `${at * size} to ${Math.min(all, (at + 1) * size) - 1}` : "none, it is padding");
  return strategy === "Width"
    ? [
        ["columns", span(number, shard[1], columns)],
        ["rows", `all ${rows}`],
      ]
    : [
        ["rows", span(number, shard[0], rows)],
        ["columns", `all ${columns}`],
      ];
}

/** The picture of a tensor's placement. */
function placement(found) {
  const { spec } = found;
  const { Sharded: sharded, Interleaved: interleaved } = spec.memory;
  const inDram = (sharded?.memory ?? interleaved) === "Dram";
  const [width, height] = inDram ? [plan.card.dram.banks, 1] : plan.card.grid;
  const size = Math.max(11, Math.min(27, Math.floor(372 / Math.max(1, width))));
  const shards = new Map();
  // A plan with a defect may name more cores than any card has.
  const most = 65536;
  if (sharded)
    for (const [x, y] of coresOf(sharded.cores))
      if (shards.size < most) shards.set(`${x},${y}`, shards.size);
      else break;
  const { rows, columns } = matrix(spec);
  const pages = spec.layout === "Tile" ? (rows / 32) * (columns / 32) : rows;
  const cells = [];
  for (let y = 0; y < Math.min(height, 64); y++) {
    for (let x = 0; x < Math.min(width, 64); x++) {
      const number = sharded ? shards.get(`${x},${y}`) : y * width + x;
      const count = Math.floor(pages / (width * height)) + Number(number < pages % (width * height));
      const holds = sharded ? number !== undefined : count > 0;
      const where = inDram ? `bank ${x}` : `core (${x},${y})`;
      const rowsOf = sharded
        ? holds
          ? [["shard", String(number)], ...part(spec, sharded, number)]
          : [["holds", "nothing of it"]]
        : [["pages", thousands(count)]];
      const tell = { mousemove: (event) => showTip(event, where, rowsOf), mouseleave: hideTip };
      cells.push(
        s("rect", {
          class: `cell ${holds ? (inDram ? "dram" : "l1") : ""}`,
          x: x * size + 1,
          y: y * size + 1,
          width: size - 2,
          height: size - 2,
          rx: 2,
          ...tell,
        }),
      );
      if (sharded && holds && size >= 17)
        cells.push(s("text", { class: "cell-number", x: (x + 0.5) * size, y: (y + 0.5) * size + 3 }, String(number)));
    }
  }
  const words = sharded
    ? `${shards.size} shards of ${sharded.shard.join(" x ")}, ${sharded.strategy === "Width" ? "cut along the columns" : "cut along the rows"}`
    : `${thousands(pages)} ${spec.layout === "Tile" ? "tiles" : "rows"}, round-robin over all ${inDram ? "banks" : "cores"}`;
  return [
    h("p", null, words),
    s("svg", { id: "cores", width: width * size, height: height * size, role: "img", "aria-label": `${found.name}: ${words}` }, cells),
  ];
}
