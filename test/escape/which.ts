/** Which sandbox is attacked: `RFAAS_TEST_SANDBOX`, by default the kernel's own means. */
import { SANDBOX_NAMES } from "../../src/executor/sandbox/registry.ts";

export const SANDBOX = process.env["RFAAS_TEST_SANDBOX"] ?? "process";
export const sandboxIsThere =
  (SANDBOX_NAMES as readonly string[]).includes(SANDBOX) && SANDBOX !== "none";
if (!sandboxIsThere)
  console.error(
    `SKIPPED: attempts in a room: this rfaas has no sandbox ${SANDBOX}; what needs none, and the controls, run`,
  );
