import { expect, test } from "bun:test";
import { answering } from "../../src/control/requests.ts";
import { OWNER } from "../../src/executor/admission/identity.ts";
import { type PackageClient, PackageIntake } from "../../src/executor/packages/intake.ts";
import { PackageStore } from "../../src/executor/packages/store.ts";
import { pack } from "../../src/package/contents/package.ts";
import { packageMessages } from "../../src/protocol/package-messages.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

test("a client that offers and gives up without end is refused until what it gave up is removed", async () => {
  using scratch = new Scratch();
  const intake = new PackageIntake(new PackageStore({ folder: scratch.join("cache") }), () => {});
  const heard: { t: string; message?: string }[] = [];
  const client = { identity: OWNER };
  const say = answering<typeof packageMessages, PackageClient>(packageMessages, intake.handlers, {
    send: (answer) => void heard.push(answer),
  });
  const content = new TextEncoder().encode("export {};");
  const made = await pack("f.js", "f.js", [{ path: "f.js", content, executable: false }]);
  const offer = (id: number): void =>
    say(
      {
        ...{ t: "offer-package", id, upload: id },
        ...{ hash: made.hash, manifest: made.manifestBytes.slice() },
      },
      client,
    );
  for (let id = 1; id <= 40; id++) {
    offer(id);
    // The offer goes to the thread, which has no turn to answer before the client has given up.
    await Promise.resolve();
    say({ t: "drop-offer", upload: id }, client);
  }
  await Promise.resolve();
  const refused = heard.filter(({ message }) => message?.includes("wait for the others"));
  expect(refused.length).toBe(32);
  expect(heard.length).toBe(32);

  let id = 41;
  await until(() => {
    offer(++id);
    return heard.some(({ t }) => t === "offer-package-reply");
  }, "it may offer again");
  intake.gone(client);
});
