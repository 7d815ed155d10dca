/** Counters that are raised by the atomic operations of RDMA devices. */
import { Adder, CounterPort } from "../../../ffi/verbs/counters.ts";
import { LINK_FAILURE } from "../../../ffi/verbs/verbs.ts";
import type { CounterAddress, CounterLink, OneSidedCounters } from "../counters.ts";
import { verbsAddresses } from "./addresses.ts";
import { linkProblem } from "./connection-errors.ts";

export const verbsCounters: OneSidedCounters = {
  addresses: () => verbsAddresses({}),
  listen: (address) => new CounterPort(address),
  connect: (to) => linkTo(to),
};

function linkTo(to: CounterAddress): CounterLink {
  const adder = new Adder(to);
  return {
    get state() {
      const { state } = adder;
      const { ready, rows, failure } = state;
      return {
        ...{ ready, rows, deviceRemoved: failure === LINK_FAILURE.deviceRemoved },
        problem: failure === LINK_FAILURE.sound ? undefined : linkProblem(state),
      };
    },
    add: (row, deltas) => adder.add(row, deltas),
    completed: () => adder.completed(),
    close: () => adder.close(),
  };
}
