/**
 * The shim's exported functions, as `bun:ffi` wants them declared. Pointers travel as numbers: an address the shim returned as
 * a double, or a handle. 64-bit integers are avoided; they cost ten times a 32-bit argument.
 */
export const SYMBOLS = {
  rfaas_layout: { args: ["ptr", "i32"], returns: "i32" },

  rfaas_ticks: { args: [], returns: "u32" },
  rfaas_tick_rate: { args: [], returns: "f64" },
  rfaas_ticks_invariant: { args: [], returns: "i32" },

  rfaas_region_create: { args: ["u32", "u32", "f64", "u32", "u32"], returns: "i32" },
  rfaas_region_map: { args: ["i32", "u32", "u32"], returns: "f64" },
  rfaas_region_unmap: { args: ["ptr"], returns: "void" },
  rfaas_region_arena: { args: ["ptr"], returns: "f64" },
  rfaas_region_arena_bytes: { args: ["ptr"], returns: "f64" },
  rfaas_region_bytes: { args: ["ptr"], returns: "f64" },
  rfaas_region_errors: { args: ["ptr", "u32"], returns: "f64" },
  rfaas_region_ended: { args: ["ptr"], returns: "u32" },
  rfaas_region_end_detail: { args: ["ptr"], returns: "i32" },

  rfaas_register: { args: ["ptr", "ptr", "u32", "u32", "ptr"], returns: "i32" },
  rfaas_unregister: { args: ["ptr", "ptr", "u32"], returns: "i32" },

  rfaas_lease_map: { args: ["i32"], returns: "f64" },
  rfaas_lease_unmap: { args: ["ptr"], returns: "void" },
  rfaas_lease_end: { args: ["ptr", "u32", "i32"], returns: "void" },

  rfaas_mailbox_open: { args: ["ptr"], returns: "i32" },
  rfaas_mailbox_send: { args: ["ptr", "ptr", "ptr", "i32"], returns: "i32" },
  rfaas_mailbox_receive: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
  rfaas_notify_pair: { args: ["ptr"], returns: "i32" },
  rfaas_duplicate: { args: ["i32"], returns: "i32" },
  rfaas_close: { args: ["i32"], returns: "i32" },

  rfaas_die_with_parent: { args: ["i32"], returns: "i32" },
  rfaas_pidfd_open: { args: ["i32"], returns: "i32" },
  rfaas_pin_thread: { args: ["i32"], returns: "i32" },
  rfaas_claim_cpu: { args: ["i32"], returns: "i32" },
  rfaas_affinity: { args: ["ptr", "i32"], returns: "i32" },
  rfaas_forbid_privileges: { args: [], returns: "i32" },
  rfaas_confine: { args: ["f64"], returns: "i32" },
  rfaas_memlock_limit: { args: [], returns: "f64" },

  rfaas_client_open: { args: ["ptr", "u32", "i32", "i32", "ptr"], returns: "f64" },
  rfaas_client_close: { args: ["ptr"], returns: "void" },
  rfaas_call: { args: ["ptr", "u32", "u32", "u32", "u32", "u32", "u32"], returns: "i32" },
  rfaas_post: { args: ["ptr", "u32", "u32", "u32", "u32", "u32", "u32"], returns: "i32" },
  rfaas_test: { args: ["ptr", "u32"], returns: "i32" },
  rfaas_wait: { args: ["ptr", "u32", "u32"], returns: "i32" },
  rfaas_abandon: { args: ["ptr", "u32"], returns: "void" },
  rfaas_lost: { args: ["ptr"], returns: "i32" },
  rfaas_client_sleeps: { args: ["ptr", "u32"], returns: "u32" },
  rfaas_last_slot: { args: ["ptr"], returns: "i32" },
  rfaas_slot_sequence: { args: ["ptr", "u32"], returns: "u32" },
  rfaas_worker_end: { args: ["ptr"], returns: "u32" },
  rfaas_worker_end_detail: { args: ["ptr"], returns: "i32" },
  rfaas_error_length: { args: ["ptr", "u32"], returns: "u32" },
  rfaas_timings: { args: ["ptr", "u32", "ptr"], returns: "void" },
  rfaas_remote: { args: ["ptr", "u32", "u32", "u32", "u32", "ptr"], returns: "i32" },
  rfaas_client_park: { args: ["ptr"], returns: "void" },
  rfaas_client_unpark: { args: ["ptr"], returns: "void" },

  rfaas_worker_open: { args: ["ptr", "u32", "i32", "ptr"], returns: "f64" },
  rfaas_worker_functions: { args: ["ptr", "u32"], returns: "void" },
  rfaas_worker_slots: { args: ["ptr"], returns: "f64" },
  rfaas_worker_slot_stride: { args: [], returns: "u32" },
  rfaas_worker_turn: { args: ["ptr", "i32", "u32", "u32"], returns: "i32" },
  rfaas_worker_answer: { args: ["ptr", "u32", "i32", "u32"], returns: "void" },
  rfaas_worker_defer: { args: ["ptr", "u32"], returns: "void" },
  rfaas_worker_park: { args: ["ptr"], returns: "i32" },
  rfaas_worker_unpark: { args: ["ptr"], returns: "void" },
  rfaas_worker_sleeps: { args: ["ptr", "u32"], returns: "u32" },
  rfaas_worker_stop: { args: ["ptr", "i32"], returns: "void" },
  rfaas_worker_runs: { args: ["ptr", "u32", "u32"], returns: "i32" },
  rfaas_worker_abort_calls: { args: ["ptr"], returns: "void" },
  rfaas_worker_lose: { args: ["ptr", "u32", "i32"], returns: "void" },

  rfaas_verbs_state: { args: [], returns: "i32" },
  rfaas_verbs_probe: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  rfaas_link_connect: { args: ["ptr", "ptr", "ptr", "u32", "ptr", "i32", "u32"], returns: "f64" },
  rfaas_link_listen: { args: ["ptr", "ptr", "ptr", "i32", "u32"], returns: "f64" },
  rfaas_link_port: { args: ["ptr"], returns: "u32" },
  rfaas_link_state: { args: ["ptr", "i32", "ptr"], returns: "void" },
  rfaas_link_close: { args: ["ptr"], returns: "void" },

  rfaas_verbs_floor: {
    args: ["ptr", "ptr", "ptr", "u32", "u32", "u32", "i32", "i32", "i32", "u32", "ptr"],
    returns: "i32",
  },

  rfaas_floor: { args: ["u32", "u32", "u32", "i32", "i32", "i32", "u32", "ptr"], returns: "i32" },
} as const;
