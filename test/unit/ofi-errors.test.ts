/** What failed connections over libfabric say. */
import { expect, test } from "bun:test";
import { OFI_FAILURE, OFI_STAGE } from "../../ffi/ofi/ofi.ts";
import { connectionFailed } from "../../src/fabric/ofi/connection-errors.ts";

test("endpoints that do not reach each other may be of two machines, or behind a firewall", () => {
  const state = {
    ...{ ready: false, failure: OFI_FAILURE.timedOut, detail: 0 },
    ...{ of: OFI_STAGE.reach, inlineBytes: 0 },
  };
  const { message } = connectionFailed("10.0.0.9:7700", state, { bytes: 0 });
  expect(message).toStartWith(
    "reaching the other side's endpoints for 10.0.0.9:7700 took more than 10 s; ofi:shm reaches no other machine: take another fabric; ",
  );
  expect(message).toEndWith("open them, and check with: fi_pingpong");
});
