// Turns a recorded trace into one state per step. No DOM: the same file runs in the pages and, for tests, under node.
//
//   course.replay(text)   text: the lines of an engine's trace (schema 2), of a gateway's queue trace, or of a recording
//                         in docs/assets/traces, which is packed (courses/llm_course/traces/pack.py)
//
// Each state is rebuilt from the events alone and compared with the counters that the engine or the gateway wrote into
// the same event: `step.ok`, and `mismatches` over all steps.
(function (root) {
  "use strict";
  const course = (root.course = root.course || {});
  const COUNTERS = ["free", "cached", "evictions", "free_host"];
  const KINDS = { c: "copies", e: "evicted", l: "lost", i: "inserted" };

  function parse(text) {
    const events = [];
    text.split("\n").forEach((line, index) => {
      if (!line.trim()) return;
      try {
        events.push(JSON.parse(line));
      } catch {
        throw new Error(`line ${index + 1} is no JSON`);
      }
    });
    return events;
  }

  // The inverse of pack.py; lines that are not packed pass through.
  function unpack(lines) {
    const rows = [], texts = new Map(), tables = new Map(), computed = new Map();
    let waiting = [], counters = [], steps = 0;
    const spell = (ids) => ids.map((id) => texts.get(id));
    const named = (list) => (list || []).map((row) => rows[row]);

    function sequence([row, count, keep, tail = [], drafts = [], first]) {
      const id = rows[row], old = tables.get(id) || [];
      const table = old.slice(0, keep ?? old.length).concat(tail);
      const item = { id, first_token: first ?? computed.get(id) ?? 0, num_tokens: count, draft_token_ids: drafts, block_table: table };
      tables.set(id, table);
      computed.set(id, item.first_token + count);
      return item;
    }
    function step(line) {
      waiting = line.w || waiting;
      counters = line.b || counters;
      const event = { event: "step", index: steps++, time: line.s, sequences: line.q.map(sequence), skipped: named(line.k) };
      event.admitted = (line.a || []).map(([row, cached, host, blocks]) => (
        { id: rows[row], cached_tokens: cached, host_tokens: host, cached_blocks: blocks }));
      event.preempted = (line.p || []).map(([row, other, lost, blocks]) => (
        { id: rows[row], needed_by: rows[other], lost_tokens: lost, host_blocks: blocks }));
      event.waiting = named(waiting);
      for (const [short, name] of Object.entries(KINDS)) event[name] = line[short] || [];
      event.blocks = Object.fromEntries(COUNTERS.map((name, i) => [name, counters[i]]));
      return event;
    }
    function result(line) {
      const sampled = line.x.map(([row, ...ids], i) => (
        { id: rows[row], token_ids: ids, texts: spell(ids), rejected_drafts: line.j ? line.j[i] : 0 }));
      for (const item of sampled) computed.set(item.id, computed.get(item.id) - item.rejected_drafts);
      const event = { event: "result", index: line.n ?? steps - 1, time: line.r, duration: line.d, sampled, inserted: line.i || [] };
      return "g" in line ? { ...event, draft_seconds: line.g } : event;
    }
    const events = [];
    for (const line of lines) {
      if ("v" in line) for (const [id, text] of Object.entries(line.v)) texts.set(Number(id), text);
      else if ("s" in line) events.push(step(line));
      else if ("r" in line) events.push(result(line));
      else if ("f" in line) events.push({ event: "finish", id: rows[line.f], time: line.t, reason: line.y });
      else if (line.event === "request" && !line.source && !line.prompt_texts) {
        rows.push(line.id);
        events.push({ ...line, prompt_texts: spell(line.prompt_token_ids) });
      } else events.push(line);
    }
    return events;
  }

  function replay(text) {
    const events = unpack(parse(text));
    const recording = events[0]?.event === "recording" ? events.shift() : null;
    if (events.some((event) => event.source)) return { kind: "lifecycle", recording, ...lifecycle(events) };
    const start = events[0];
    if (start?.event !== "start") throw new Error("this is no trace: its first line has to be the start event");
    if ("policy" in start) return { kind: "queue", recording, start, ...queue(start, events.slice(1)) };
    if (start.schema_version !== 2) throw new Error(`this trace has schema ${start.schema_version ?? 1}; the page replays schema 2`);
    return { kind: "engine", recording, start, ...new Engine(start).run(events.slice(1)) };
  }

  const short = (id) => id.replace(/\/0$/, "").replace(/#\d+$/, "");

  class Engine {
    constructor(start) {
      this.start = start;
      this.size = start.block_size;
      this.seqs = new Map();
      this.owners = new Map(); // block -> ids
      this.known = new Map(); // block -> node of the prefix tree
      this.steps = [];
      this.evictions = 0;
      this.hits = { found: 0, asked: 0 };
    }

    run(events) {
      for (const event of events) this[event.event]?.(event);
      const steps = this.steps, seqs = [...this.seqs.values()];
      return { steps, seqs, byId: this.seqs, mismatches: steps.filter((step) => !step.ok).length };
    }

    request(event) {
      const tokens = event.prompt_token_ids.map((token, i) => event.prompt_texts[i]);
      this.seqs.set(event.id, {
        id: event.id, short: short(event.id), row: this.seqs.size, priority: event.priority, order: event.order,
        prompt: tokens.length, maxTokens: event.max_tokens, arrival: event.time, tokens, table: [], host: [], computed: 0,
        lost: 0, state: "waiting", queuedAt: this.steps.length, cells: new Map(), times: [], end: null, reason: null,
      });
    }

    give_back(seq) {
      for (const block of seq.table) this.disown(block, seq.id);
      seq.table = [];
      seq.computed = 0;
    }

    disown(block, id) {
      const left = this.owners.get(block).filter((owner) => owner !== id);
      if (left.length) this.owners.set(block, left);
      else this.owners.delete(block);
    }

    step(event) {
      const index = this.steps.length;
      for (const item of event.preempted) {
        const seq = this.seqs.get(item.id);
        this.give_back(seq);
        Object.assign(seq, { state: "preempted", host: item.host_blocks, lost: item.lost_tokens });
        seq.cells.set(index, { kind: "preempted" });
      }
      this.take_evicted(event);
      for (const item of event.sequences) this.compute(item, index);
      for (const item of event.admitted) this.admit(item, index);
      for (const id of event.waiting) if (!this.seqs.get(id).cells.has(index)) this.seqs.get(id).cells.set(index, { kind: "waiting" });
      this.insert(event.inserted);
      this.steps.push(this.snapshot(event, index));
    }

    take_evicted(event) {
      this.gone = [...event.evicted, ...event.lost].map((block) => ({ block, ...this.known.get(block) }));
      for (const { block } of this.gone) this.known.delete(block);
      this.evictions += event.evicted.length;
    }

    compute(item, index) {
      const seq = this.seqs.get(item.id), before = new Set(seq.table), after = new Set(item.block_table);
      for (const block of before) if (!after.has(block)) this.disown(block, seq.id);
      for (const block of after) if (!before.has(block)) this.owners.set(block, [...(this.owners.get(block) || []), seq.id]);
      const end = item.first_token + item.num_tokens, drafts = item.draft_token_ids.length;
      const prefill = item.first_token < seq.prompt - 1 || item.num_tokens - drafts > 1;
      Object.assign(seq, { table: item.block_table, state: "running", computed: end, host: [], lost: Math.max(0, seq.lost - item.num_tokens) });
      seq.cells.set(index, { kind: prefill ? "prefill" : "decode", count: item.num_tokens, first: item.first_token, drafts });
    }

    admit(item, index) {
      const seq = this.seqs.get(item.id), cell = seq.cells.get(index);
      if (cell) Object.assign(cell, { admitted: true, cached: item.cached_tokens, host: item.host_tokens });
      this.hits.found += item.cached_tokens;
      this.hits.asked += seq.tokens.length;
      seq.lost = Math.max(0, seq.lost - item.cached_tokens);
    }

    insert(inserted) {
      for (const [block, parent, key, depth] of inserted) {
        const owner = (this.owners.get(block) || []).find((id) => this.seqs.get(id).table[depth] === block);
        const text = owner ? this.seqs.get(owner).tokens.slice(depth * this.size, (depth + 1) * this.size).join("") : "";
        this.known.set(block, { parent, key, depth, text, since: this.steps.length });
      }
    }

    snapshot(event, index) {
      const owned = new Set(this.owners.keys()), counters = event.blocks;
      const cached = new Set([...this.known.keys()].filter((block) => !owned.has(block)));
      const seqs = new Map();
      let host = 0;
      for (const seq of this.seqs.values()) {
        host += seq.host.length;
        if (seq.state === "finished") continue;
        const { state, table, computed, lost } = seq;
        seqs.set(seq.id, { state, table, computed, lost, host: seq.host, tokens: seq.tokens.length, cell: seq.cells.get(index) || null });
      }
      const free = this.start.num_blocks - owned.size - cached.size;
      const ok = free === counters.free && cached.size === counters.cached && this.evictions === counters.evictions &&
        this.start.num_cpu_blocks - host === counters.free_host;
      return {
        index, event, ok, seqs, cached, free, owners: new Map(this.owners), known: new Map(this.known), knownAfter: this.known, gone: this.gone,
        used: event.sequences.reduce((sum, item) => sum + item.num_tokens, 0), time: event.time, end: event.time,
        duration: 0, sampled: [], inserted: event.inserted, hits: { ...this.hits }, hostUsed: host,
      };
    }

    result(event) {
      const step = this.steps[event.index];
      Object.assign(step, { sampled: event.sampled, duration: event.duration, end: event.time, ranks: event.ranks || [] });
      step.inserted = [...step.inserted, ...event.inserted];
      step.draftSeconds = event.draft_seconds;
      for (const item of event.sampled) {
        const seq = this.seqs.get(item.id);
        seq.tokens.push(...item.texts);
        seq.times.push(event.time);
        if (!item.rejected_drafts) continue;
        seq.computed -= item.rejected_drafts;
        const needed = Math.ceil(seq.computed / this.size);
        for (const block of seq.table.slice(needed)) this.disown(block, seq.id);
        seq.table = seq.table.slice(0, needed);
      }
      this.insert(event.inserted);
      step.knownAfter = new Map(this.known);
    }

    finish(event) {
      const seq = this.seqs.get(event.id);
      this.give_back(seq);
      Object.assign(seq, { state: "finished", host: [], end: this.steps.length - 1, reason: event.reason });
    }
  }

  const bySchedule = (a, b) => (a.key ?? Infinity) - (b.key ?? Infinity) || a.order - b.order;

  function queue(start, events) {
    const requests = new Map(), steps = [];
    let waiting = [], holders = [], done = 0, refused = [], left = [];
    events.forEach((event, index) => {
      const id = event.id;
      if (event.event === "enqueue") {
        const again = requests.get(id);
        const request = again || { id, short: short(id), row: requests.size, class: event.class, key: event.key, order: event.order };
        Object.assign(request, { since: event.time, wait: null, due: event.due, tokens: event.output_tokens });
        requests.set(id, request);
        waiting = [...waiting, request].sort(bySchedule);
      } else if (event.event === "grant") {
        const request = requests.get(id);
        Object.assign(request, { granted: event.time, wait: event.wait });
        waiting = waiting.filter((other) => other !== request);
        holders = [...holders, request];
      } else if (event.event === "release") {
        holders = holders.filter((other) => other.id !== id);
        done += 1;
      } else if (event.event === "leave") {
        waiting = waiting.filter((other) => other.id !== id);
        left = [...left, { id, reason: event.reason }];
      } else if (event.event === "refuse") {
        const request = { id, short: short(id), row: requests.size, class: event.class, reason: event.reason, time: event.time };
        requests.set(id, request);
        refused = [...refused, request];
      }
      const at = [waiting.length, holders.length];
      const counted = [event.waiting ?? at[0], event.in_flight ?? at[1]];
      // A request that finds a free slot is counted as holding it already when it is enqueued.
      const ok = event.event === "enqueue" ? at[0] + at[1] === counted[0] + counted[1] : String(at) === String(counted);
      steps.push({ index, event, time: event.time, ok, waiting, holders, done, refused, left });
    });
    return { steps, requests, mismatches: steps.filter((step) => !step.ok).length };
  }

  // One request seen by three programs. Their names for it differ, its trace id does not.
  function lifecycle(events) {
    const requests = new Map(), byName = { client: new Map(), gateway: new Map(), engine: new Map() };
    const starts = {};
    const find = (event) => {
      if (event.trace_id && !requests.has(event.trace_id)) {
        requests.set(event.trace_id, { trace: event.trace_id, row: requests.size, short: short(event.id), tokens: [], steps: [], emitted: [] });
      }
      if (event.trace_id) byName[event.source].set(event.id, requests.get(event.trace_id));
      return byName[event.source].get(event.id);
    };
    const steps = [];
    const note = (time, request, what, more = {}) => steps.push({ index: steps.length, time, request, what, ok: true, ...more });
    for (const event of events) {
      const { source, time } = event, request = event.id ? find(event) : null;
      if (event.event === "start") starts[source] = event;
      else if (source === "client") clientEvent(event, request, note);
      else if (source === "gateway") gatewayEvent(event, request, note);
      else if (event.event === "request") { request.engineAt = time; note(time, request, "engine-queued"); }
      else if (event.event === "finish") { request.engineEnd = time; note(time, request, "engine-done"); }
      else if (event.event === "step") engineStep(event, byName.engine, note);
      else if (event.event === "result") engineResult(event, byName.engine, note);
    }
    for (const step of steps) step.ok = inOrder(step.request);
    return { starts, steps, requests: [...requests.values()], mismatches: steps.filter((step) => !step.ok).length };
  }

  function clientEvent(event, request, note) {
    if (event.event === "send") Object.assign(request, { sent: event.time, class: event.class, maxTokens: event.max_tokens });
    if (event.event === "token") request.tokens.push({ time: event.time, text: event.text });
    if (event.event === "done") request.done = event.time;
    const first = event.event === "token" && request.tokens.length === 1;
    if (event.event !== "token" || first) note(event.time, request, first ? "first-token" : event.event, { status: event.status });
  }

  function gatewayEvent(event, request, note) {
    if (event.event === "enqueue") request.enqueued = event.time;
    if (event.event === "grant") Object.assign(request, { granted: event.time, wait: event.wait });
    if (event.event === "release") request.released = event.time;
    note(event.time, request, event.event, { reason: event.reason });
  }

  function engineStep(event, byName, note) {
    for (const item of event.sequences || []) {
      const request = byName.get(item.id), first = !request.steps.length;
      request.steps.push({ index: event.index, begin: event.time, end: event.time, count: item.num_tokens, prefill: item.num_tokens > 1 });
      if (first) note(event.time, request, "engine-step", { count: item.num_tokens });
    }
  }

  function engineResult(event, byName) {
    for (const request of new Set(byName.values())) {
      const step = request.steps.at(-1);
      if (step?.index === event.index) step.end = event.time;
    }
    for (const item of event.sampled || []) byName.get(item.id).emitted.push(event.time);
  }

  // What one program says of a request fits what the others say: a cause comes before its effect.
  function inOrder(request) {
    const times = [request.sent, request.enqueued, request.granted, request.engineAt, request.steps[0]?.begin, request.emitted[0], request.tokens[0]?.time, request.done];
    const known = times.filter((time) => time !== undefined);
    return known.every((time, i) => i === 0 || time >= known[i - 1] - 0.002);
  }

  course.replay = replay;
  course.traceEvents = (text) => unpack(parse(text));
  if (typeof module !== "undefined") module.exports = course;
})(typeof globalThis === "undefined" ? this : globalThis);
