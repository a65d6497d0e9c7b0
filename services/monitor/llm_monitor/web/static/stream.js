// The live stream. The browser reconnects by itself with the id of the last message, and the server sends what is missing.

const LOST = 3; // seconds without data after which the page says so

export class Stream {
  constructor({ onPast, onNow, onState }) {
    this._listeners = { onPast, onNow, onState };
    this._source = null;
    this._offset = Infinity; // local clock minus the server's, plus the shortest way of a message
    this.last = 0; // time of the newest values, the server's clock
    this.lastId = "";
    this._query = "";
  }

  open(query) {
    this.close();
    this._query = query;
    this._connect();
  }

  close() {
    clearTimeout(this._again);
    this._source?.close();
    this._source = null;
    this.last = 0;
    this.lastId = "";
  }

  // Seconds between the scrape behind what is shown and now.
  get age() { return this.last ? Math.max(0, Date.now() / 1000 - (this._offset < Infinity ? this._offset : 0) - this.last) : null; }
  get isLost() { return this._source !== null && (this.age === null ? false : this.age > LOST); }

  // The server's clock, as far as it is known.
  get time() { return Date.now() / 1000 - (this._offset < Infinity ? this._offset : 0); }

  _connect() {
    const since = this.lastId ? `&since=${this.lastId}` : "";
    const source = this._source = new EventSource(`/live?${this._query}${since}`);
    source.addEventListener("past", (event) => this._take(event, "onPast"));
    source.addEventListener("now", (event) => this._take(event, "onNow"));
    source.addEventListener("state", (event) => this._listeners.onState(JSON.parse(event.data)));
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED || source !== this._source) return;
      this._again = setTimeout(() => { if (source === this._source) this._connect(); }, 1000);
    };
  }

  _take(event, listener) {
    const message = JSON.parse(event.data);
    this._offset = Math.min(this._offset + 0.0005, Date.now() / 1000 - message.sent); // follows a clock that drifts
    this.lastId = event.lastEventId;
    this.last = Number(event.lastEventId) / 1000;
    this._listeners[listener](message);
  }
}
