/** What the processes of the benchmark tell each other: what a client is to do, and what it has seen. */

/** Several clients in one process, each with a connection of its own. */
export interface Task {
  manager: string;
  /** The token of each client. */
  tokens: string[];
  /** Workers of each client's requests. */
  workers: number[];
  holdMs: number;
  /** When all begin and end, by the wall clock. */
  fromMs: number;
  untilMs: number;
}

/** What one client has got. */
export interface Got {
  grants: number;
  /** Of each request; the last one may not have ended. */
  waitsMs: number[];
  /** Its leases, each from its grant until it was given back. */
  coreMs: number;
}
