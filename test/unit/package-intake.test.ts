import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { answering } from "../../src/control/requests.ts";
import { OWNER } from "../../src/executor/admission/identity.ts";
import { type PackageClient, PackageIntake } from "../../src/executor/packages/intake.ts";
import { PackageStore } from "../../src/executor/packages/store.ts";
import { pack } from "../../src/package/contents/package.ts";
import { packageMessages } from "../../src/protocol/package-messages.ts";
import { Scratch } from "../support/scratch.ts";
import { TestClock } from "../support/clock.ts";
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

test("an upload whose bytes stop coming ends, with what has come of it", async () => {
  using scratch = new Scratch();
  const store = new PackageStore({ folder: scratch.join("cache") });
  const clock = new TestClock();
  const logged: string[] = [];
  const intake = new PackageIntake(store, (_, message) => logged.push(message), clock);
  const heard: { t: string; id?: number; message?: string }[] = [];
  const client = { identity: { user: "ada", maxCores: null, untilMs: null } };
  const say = answering<typeof packageMessages, PackageClient>(packageMessages, intake.handlers, {
    send: (answer) => void heard.push(answer),
  });
  const content = new Uint8Array(1000).fill(7);
  const made = await pack("f.js", "f.js", [{ path: "f.js", content, executable: false }]);
  const manifest = made.manifestBytes.slice();
  say({ t: "offer-package", id: 1, upload: 1, hash: made.hash, manifest }, client);
  const chunk = async (id: number, bytes: number): Promise<void> => {
    say({ t: "package-chunk", id, upload: 1, bytes: new Uint8Array(bytes).fill(7) }, client);
    await until(() => heard.some((one) => one.id === id), "an answer");
  };
  await until(() => heard.length === 1, "the offer is taken");
  clock.pass(59_000);
  await chunk(2, 400);
  clock.pass(59_000);
  await chunk(3, 400);
  expect(heard.map(({ t }) => t)).toEqual([
    "offer-package-reply",
    ...["package-chunk-reply", "package-chunk-reply"],
  ]);
  clock.pass(60_000);
  expect(logged).toEqual(["the upload of package f.js by ada was ended: no bytes came for 60 s"]);
  await chunk(4, 200);
  expect(heard.at(-1)!.message).toContain("brought no bytes for 60 s; offer the package again");
  await until(
    () => readdirSync(join(store.folder, "incoming")).length === 0,
    "what has come of it is removed",
  );
  expect(clock.waiting).toBe(0);
});

test("all clients of a user together have a bounded number of uploads, and those that end make room", async () => {
  using scratch = new Scratch();
  const intake = new PackageIntake(new PackageStore({ folder: scratch.join("cache") }), () => {});
  const heard: { t: string; message?: string }[] = [];
  const say = answering<typeof packageMessages, PackageClient>(packageMessages, intake.handlers, {
    send: (answer) => void heard.push(answer),
  });
  const content = new TextEncoder().encode("export {};");
  const made = await pack("f.js", "f.js", [{ path: "f.js", content, executable: false }]);
  const clients = Array.from({ length: 9 }, () => ({
    identity: { user: "ada", maxCores: null, untilMs: null },
  }));
  const offer = (upload: number, client: PackageClient): void => {
    const manifest = made.manifestBytes.slice();
    say({ t: "offer-package", id: upload, upload, hash: made.hash, manifest }, client);
  };
  for (const client of clients) for (let upload = 1; upload <= 8; upload++) offer(upload, client);
  await until(() => heard.length === 72, "all offers are answered");
  const refused = heard.filter(({ message }) => message?.includes("all clients of ada together"));
  expect(refused).toHaveLength(8);
  intake.gone(clients[0]!);
  heard.length = 0;
  offer(9, clients[8]!);
  await until(() => heard.length === 1, "the offer is answered");
  expect(heard[0]!.t).toBe("offer-package-reply");
  for (const client of clients) intake.gone(client);
});
