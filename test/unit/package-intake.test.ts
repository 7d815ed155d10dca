import { expect, test } from "bun:test";
import { OWNER } from "../../src/executor/admission/identity.ts";
import { PackageIntake } from "../../src/executor/packages/intake.ts";
import { PackageStore } from "../../src/executor/packages/store.ts";
import { pack } from "../../src/package/contents/package.ts";
import type { NodeMessage } from "../../src/protocol/messages.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

test("a client that offers and gives up without end is refused until what it gave up is removed", async () => {
  using scratch = new Scratch();
  const intake = new PackageIntake(new PackageStore({ folder: scratch.join("cache") }), () => {});
  const heard: NodeMessage[] = [];
  const client = {
    connection: { send: (message: NodeMessage) => void heard.push(message) },
    identity: OWNER,
  };
  const content = new TextEncoder().encode("export {};");
  const made = await pack("f.js", "f.js", [{ path: "f.js", content, executable: false }]);
  const offer = (id: number): void =>
    intake.heard(client, {
      ...{ t: "offer-package", id, hash: made.hash, manifest: made.manifestBytes.slice() },
    });
  for (let id = 1; id <= 40; id++) {
    offer(id);
    // The offer goes to the thread, which has no turn to answer before the client has given up.
    await Promise.resolve();
    intake.heard(client, { t: "drop-offer", id });
  }
  const refused = heard.filter(({ t }) => t === "package-refused");
  expect(refused.length).toBe(32);
  expect(heard.length).toBe(32);

  let id = 41;
  await until(() => {
    offer(++id);
    return heard.some(({ t }) => t === "needs-files");
  }, "it may offer again");
  intake.gone(client);
});
