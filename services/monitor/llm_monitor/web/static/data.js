// The columns of a board: times, and for each series its values. A message of the stream adds to them.

const identity = (column) => `${column.panel}\n${column.query}\n${JSON.stringify(column.labels)}`;

export class Table {
  constructor() {
    this.times = [];
    this.columns = []; // {panel, query, labels, values}
    this.hidden = {};
    this.version = 0; // grows when there is a new column
    this._known = new Map(); // identity -> index
    this._order = []; // the server's number -> index
  }

  get last() { return this.times.length ? this.times[this.times.length - 1] : -Infinity; }

  // Take a block of columns: what was missed, after what is known.
  past(block) {
    this._order = block.columns.map((column) => this._index(column));
    const from = block.times.findIndex((time) => time > this.last);
    if (from >= 0) {
      const rows = new Map(this._order.map((index, row) => [index, block.values[row]]));
      for (let step = from; step < block.times.length; step += 1) this.times.push(block.times[step]);
      this.columns.forEach((column, index) => {
        const row = rows.get(index);
        for (let step = from; step < block.times.length; step += 1) column.values.push(row ? row[step] : null);
      });
    }
    this.hidden = block.hidden;
  }

  // Take a cycle: the series that changed. The others keep their value.
  now(message) {
    message.new.forEach((column, offset) => { this._order[message.from + offset] = this._index(column); });
    if (message.t <= this.last) return;
    const before = this.times.length - 1;
    this.times.push(message.t);
    for (const column of this.columns) column.values.push(before >= 0 ? column.values[before] : null);
    message.i.forEach((number, place) => {
      const values = this.columns[this._order[number]].values;
      values[values.length - 1] = message.v[place];
    });
    this.hidden = message.hidden;
  }

  // Forget what is older than `time`, now and then.
  trim(time) {
    const count = this.times.findIndex((each) => each >= time);
    if (count < 240) return;
    this.times.splice(0, count);
    for (const column of this.columns) column.values.splice(0, count);
  }

  of(panel) { return this.columns.filter((column) => column.panel === panel && column.values.some((value) => value !== null)); }

  _index(column) {
    const key = identity(column);
    let index = this._known.get(key);
    if (index === undefined) {
      index = this.columns.length;
      this._known.set(key, index);
      this.columns.push({ ...column, values: new Array(this.times.length).fill(null) });
      this.version += 1;
    }
    return index;
  }
}

// Return values of another range at the given times, `shift` seconds earlier; null where there is none near enough.
export function aligned(times, other, values, shift, tolerance) {
  const found = new Array(times.length).fill(null);
  let place = 0;
  for (let index = 0; index < times.length; index += 1) {
    const wanted = times[index] - shift;
    while (place < other.length - 1 && other[place + 1] <= wanted) place += 1;
    if (other.length && other[place] <= wanted && wanted - other[place] <= tolerance) found[index] = values[place];
  }
  return found;
}
