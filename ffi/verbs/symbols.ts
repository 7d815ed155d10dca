/** What the shim exports of verbs alone, opened when it is first needed: most programs never do. */
import { openSymbols } from "../library.ts";

export const VERBS_SYMBOLS = {
  rfaas_verbs_state: { args: [], returns: "i32" },
  rfaas_verbs_probe: { args: ["ptr", "u32", "ptr"], returns: "i32" },

  rfaas_counter_port_open: { args: ["ptr"], returns: "f64" },
  rfaas_counter_port_close: { args: ["ptr"], returns: "void" },
  rfaas_counter_port_number: { args: ["ptr"], returns: "u32" },
  rfaas_counter_port_state: { args: ["ptr", "ptr"], returns: "void" },
  rfaas_counters_open: { args: ["ptr", "ptr", "u32"], returns: "f64" },
  rfaas_counters_state: { args: ["ptr"], returns: "i32" },
  rfaas_counters_read: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  rfaas_counters_clear: { args: ["ptr", "u32"], returns: "i32" },
  rfaas_counters_close: { args: ["ptr"], returns: "void" },
  rfaas_adder_open: { args: ["ptr", "u32", "ptr"], returns: "f64" },
  rfaas_adder_close: { args: ["ptr"], returns: "void" },
  rfaas_adder_state: { args: ["ptr", "ptr"], returns: "void" },
  rfaas_adder_add: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  rfaas_adder_completed: { args: ["ptr"], returns: "f64" },

  rfaas_verbs_floor: {
    args: ["ptr", "ptr", "ptr", "u32", "u32", "u32", "i32", "i32", "i32", "u32", "ptr"],
    returns: "i32",
  },
} as const;

let opened: ReturnType<typeof openSymbols<typeof VERBS_SYMBOLS>> | undefined;

/** Throws `ShimUnavailable` when the shim cannot be opened. */
export function verbs(): NonNullable<typeof opened> {
  return (opened ??= openSymbols(VERBS_SYMBOLS));
}
