/** What a map works with from its first input on. */
import type { LeaseCore } from "../calls/submission.ts";
import type { MapOptions } from "../options/call-options.ts";
import { throwIfAborted } from "../../base/waiting.ts";
import { type DeadlineOwner, Deadlines } from "./deadlines.ts";
import type { MapItem } from "./item.ts";
import { type MapTerms, type Source, termsOf } from "./options.ts";
import { Ring } from "./ring.ts";
import { MapSource } from "./source.ts";
import type { StationOwner } from "./station.ts";
import { Stations } from "./stations.ts";

/** Inputs that are taken ahead of their results, for each call that may be in flight: a slow one holds up few others. */
const AHEAD_PER_CALL = 4;
export interface Running<Value, Result> {
  readonly terms: MapTerms;
  readonly stations: Stations<Value, Result>;
  readonly source: MapSource<Value>;
  /** In order: all that were taken and not yielded. Else those of them that are done. */
  readonly items: Ring<MapItem<Value, Result>>;
  readonly maxAhead: number;
  readonly deadlines: Deadlines<Value, Result>;
}

/** Throws what is wrong with the options, the name or the values. */
export function run<Value, Result>(
  leases: readonly LeaseCore[],
  name: string,
  values: Source<Value>,
  options: MapOptions,
  owner: StationOwner<Value, Result> & DeadlineOwner,
): Running<Value, Result> {
  const slots = leases.flatMap((lease) => lease.lanes.map(() => lease.slots));
  const terms = termsOf(options, slots);
  throwIfAborted(options.signal);
  const maxAhead = AHEAD_PER_CALL * terms.concurrency;
  const stations = new Stations(owner, leases, name, terms);
  return {
    terms,
    stations,
    source: new MapSource(values, () => owner.heeded()),
    // One more for an error that belongs to no input.
    items: new Ring(maxAhead + 1),
    maxAhead,
    deadlines: new Deadlines(terms.deadlineMs, stations, owner),
  };
}
