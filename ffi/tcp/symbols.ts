/** What the shim exports of tcp alone, opened when it is first needed. */
import { openSymbols } from "../library.ts";

export const TCP_SYMBOLS = {
  rfaas_tcp_encryption_state: { args: [], returns: "i32" },
  rfaas_tcp_encryption_of: { args: ["ptr", "u32"], returns: "u32" },
  rfaas_tcp_floor: {
    args: ["u32", "u32", "u32", "i32", "i32", "i32", "u32", "ptr"],
    returns: "i32",
  },
  rfaas_tcp_stream_floor: {
    args: ["u32", "u32", "u32", "u32", "i32", "i32", "i32", "ptr"],
    returns: "i32",
  },
} as const;

let opened: ReturnType<typeof openSymbols<typeof TCP_SYMBOLS>> | undefined;

/** Throws `ShimUnavailable` when the shim cannot be opened. */
export function tcp(): NonNullable<typeof opened> {
  return (opened ??= openSymbols(TCP_SYMBOLS));
}
