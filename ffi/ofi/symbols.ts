/** What the shim exports of ofi alone, opened when it is first needed: most programs never do. */
import { openSymbols } from "../library.ts";

export const OFI_SYMBOLS = {
  rfaas_ofi_state: { args: [], returns: "i32" },
  rfaas_ofi_probe: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  rfaas_ofi_floor: {
    args: ["ptr", "ptr", "u32", "u32", "u32", "i32", "i32", "i32", "u32", "ptr"],
    returns: "i32",
  },
  rfaas_ofi_error: { args: ["i32", "ptr", "u32"], returns: "void" },
} as const;

let opened: ReturnType<typeof openSymbols<typeof OFI_SYMBOLS>> | undefined;

/** Throws `ShimUnavailable` when the shim cannot be opened. */
export function ofi(): NonNullable<typeof opened> {
  return (opened ??= openSymbols(OFI_SYMBOLS));
}
