// FSRS-6 in the browser: the same functions as courses/llm_course/cards/fsrs.py, which names the source, and the same
// queue as llm_course/cards/queue.py. Both are tested against courses/tests/cards/fsrs_vectors.json.
(function () {
  "use strict";
  const course = (window.course = window.course || {});
  const W = [
    0.212, 1.2931, 2.3065, 8.2956, // stability after a first review
    6.4133, 0.8334, 3.0194, 0.001, // difficulty
    1.8722, 0.1666, 0.796, // recalled
    1.4835, 0.0614, 0.2629, 1.6483, // forgotten
    0.6014, 1.8729, // hard, easy
    0.5425, 0.0912, 0.0658, // again on the same day
    0.1542, // decay
  ];
  const RETENTION = 0.9;
  const LONGEST = 36500;
  const SHORTEST_STABILITY = 0.001;
  const [AGAIN, HARD, GOOD, EASY] = [1, 2, 3, 4];
  const FACTOR = RETENTION ** (-1 / W[20]) - 1;
  const NEW_A_DAY = 20;
  const AGAIN_AFTER = 10 * 60 * 1000;
  const DAY = 24 * 60 * 60 * 1000;
  const KNOWN_STABILITY = 21;

  const within = (difficulty) => Math.min(Math.max(difficulty, 1), 10);
  const firstDifficulty = (grade) => W[4] - Math.exp(W[5] * (grade - 1)) + 1;

  function nextDifficulty(difficulty, grade) {
    const changed = difficulty - (W[6] * (grade - 3) * (10 - difficulty)) / 9;
    return within(W[7] * firstDifficulty(EASY) + (1 - W[7]) * changed);
  }

  const recall = (memory, days) => (1 + (FACTOR * days) / memory.stability) ** -W[20];

  function recalled(memory, chance, grade) {
    const bonus = { [HARD]: W[15], [GOOD]: 1, [EASY]: W[16] }[grade];
    const surprise = Math.exp(W[10] * (1 - chance)) - 1;
    const growth = Math.exp(W[8]) * (11 - memory.difficulty) * memory.stability ** -W[9] * surprise * bonus;
    return memory.stability * (1 + growth);
  }

  function forgotten(memory, chance) {
    const fading = Math.exp(W[14] * (1 - chance));
    const long = W[11] * memory.difficulty ** -W[12] * ((memory.stability + 1) ** W[13] - 1) * fading;
    return Math.min(long, memory.stability / Math.exp(W[17] * W[18]));
  }

  function sameDay(stability, grade) {
    const growth = Math.exp(W[17] * (grade - 3 + W[18])) * stability ** -W[19];
    return stability * (grade === AGAIN ? growth : Math.max(growth, 1));
  }

  // The memory after a review, `days` whole days after the one before; null: the card was new.
  function review(memory, grade, days) {
    if (memory === null) return { stability: W[grade - 1], difficulty: within(firstDifficulty(grade)) };
    let stability;
    if (days < 1) stability = sameDay(memory.stability, grade);
    else if (grade === AGAIN) stability = forgotten(memory, recall(memory, days));
    else stability = recalled(memory, recall(memory, days), grade);
    return { stability: Math.max(stability, SHORTEST_STABILITY), difficulty: nextDifficulty(memory.difficulty, grade) };
  }

  const interval = (memory) => Math.min(Math.max(Math.floor(memory.stability + 0.5), 1), LONGEST);

  // The standing after a review at this time; times are milliseconds since 1970.
  function after(before, grade, at) {
    const days = before ? Math.floor((at - before.last) / DAY) : 0;
    const memory = review(before ? before.memory : null, grade, days);
    const wait = grade === AGAIN ? AGAIN_AFTER : interval(memory) * DAY;
    return { memory, last: at, first: before ? before.first : at, due: at + wait, known: memory.stability >= KNOWN_STABILITY };
  }

  // Card id -> standing, from the log's events of kind "card", oldest first.
  function standings(events) {
    const found = {};
    events.forEach((event) => {
      found[event.key] = after(found[event.key], event.facts.grade, Date.parse(event.at));
    });
    return found;
  }

  // The cards to show now: due ones, the longest overdue first, then new ones, NEW_A_DAY a day (UTC).
  function due(deck, known, now) {
    const day = (time) => Math.floor(time / DAY);
    const overdue = deck.filter((card) => known[card.id]?.due <= now).sort((a, b) => known[a.id].due - known[b.id].due);
    const begun = Object.values(known).filter((standing) => day(standing.first) === day(now)).length;
    const fresh = deck.filter((card) => !known[card.id]);
    return [...overdue, ...fresh.slice(0, Math.max(0, NEW_A_DAY - begun))];
  }

  course.fsrs = { review, recall, interval, after, standings, due, AGAIN, HARD, GOOD, EASY, DAY };
})();
