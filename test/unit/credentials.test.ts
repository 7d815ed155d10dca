/** A server's key and certificate in files that are replaced, by a clock of the test's. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError } from "../../src/base/errors.ts";
import { parseAddress } from "../../src/control/address.ts";
import { openSecurity } from "../../src/executor/admission/security.ts";
import { FileCredentials } from "../../src/trust/credentials.ts";
import { Scratch } from "../support/scratch.ts";
import { nodeCredentials } from "../support/tls.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
let scratch: Scratch;
let files: { certificate: string; key: string };
let nowMs: number;
let warnings: string[];

beforeEach(() => {
  scratch = new Scratch();
  files = { certificate: scratch.join("cert.pem"), key: scratch.join("key.pem") };
  nowMs = Date.now();
  warnings = [];
});
afterEach(() => scratch[Symbol.dispose]());

const open = () =>
  new FileCredentials(files, {
    warn: (message) => void warnings.push(message),
    now: () => nowMs,
  });

async function put(made?: Awaited<ReturnType<typeof nodeCredentials>>) {
  const all = made ?? (await nodeCredentials());
  writeFileSync(files.certificate, all.chain);
  writeFileSync(files.key, all.key, { mode: 0o600 });
  return all;
}

/** A link that leads to itself. */
function circle(): void {
  rmSync(files.key);
  symlinkSync(files.key, files.key);
}

test("a certificate that has no room leaves nothing behind", async () => {
  const own = join(import.meta.dir, "../../src/trust/own-certificate.ts");
  const script = `const { ownCertificate } = await import(${JSON.stringify(own)});
    await ownCertificate(${JSON.stringify(scratch.join("state"))}).catch(({ code }) => console.log(code));`;
  // Files may have no byte.
  const shell = `trap '' XFSZ; ulimit -f 0; exec "$0" -e "$1"`;
  const child = Bun.spawn(["sh", "-c", shell, process.execPath, script], { stdout: "pipe" });
  expect(await child.stdout.text()).toBe("RFAAS_ENVIRONMENT\n");
  expect(readdirSync(scratch.join("state"))).toEqual([]);
});

describe("credentials in files", () => {
  test("are looked at once a second, and the new ones are used", async () => {
    const first = await put();
    const credentials = open();
    const context = credentials.context();
    expect(credentials.fingerprint).toBe(first.fingerprint);
    const second = await put();
    expect(credentials.context()).toBe(context);
    nowMs += 1000;
    expect(credentials.context()).not.toBe(context);
    expect(credentials.fingerprint).toBe(second.fingerprint);
    // The same files make the same context.
    const again = credentials.context();
    nowMs += 1000;
    expect(credentials.context()).toBe(again);
    expect(warnings).toEqual([]);
  });

  test("are read at once where that is asked for, and stay where they are wrong", async () => {
    const first = await put();
    const credentials = open();
    writeFileSync(files.key, "no key");
    expect(() => credentials.readAgain()).toThrow("there is no key in");
    expect(credentials.fingerprint).toBe(first.fingerprint);
    const second = await put();
    credentials.readAgain();
    expect(credentials.fingerprint).toBe(second.fingerprint);
    const context = credentials.context();
    nowMs += 1000;
    expect(credentials.context()).toBe(context);
    expect(warnings).toEqual([]);
  });

  test("that are replaced one after the other are used when both are there", async () => {
    const first = await put();
    const credentials = open();
    const second = await nodeCredentials();
    writeFileSync(files.certificate, second.chain);
    nowMs += 1000;
    credentials.context();
    expect(credentials.fingerprint).toBe(first.fingerprint);
    expect(warnings).toEqual([]);
    writeFileSync(files.key, second.key);
    nowMs += 1000;
    credentials.context();
    expect(credentials.fingerprint).toBe(second.fingerprint);
    expect(warnings).toEqual([]);
  });

  test.each([
    ["are gone", () => rmSync(files.key)],
    ["cannot be looked at", circle],
    ["are empty", () => writeFileSync(files.certificate, "")],
    ["do not belong together", () => writeFileSync(files.key, "-----BEGIN PRIVATE KEY-----")],
  ])("that %s leave the ones before in use, and it is said once", async (_, spoil) => {
    const first = await put();
    const credentials = open();
    spoil();
    for (let i = 0; i < 5; i++) {
      nowMs += 1000;
      credentials.context();
    }
    expect(credentials.fingerprint).toBe(first.fingerprint);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("the one before still is");
    rmSync(files.key, { force: true });
    const second = await put();
    nowMs += 1000;
    credentials.context();
    expect(credentials.fingerprint).toBe(second.fingerprint);
  });

  test("that cannot be looked at are refused at the start", async () => {
    await put();
    circle();
    expect(open).toThrow(EnvironmentError);
  });

  test("that have expired are refused at the start, and not taken later", async () => {
    const first = await put();
    const credentials = open();
    nowMs += 10 * DAY_MS;
    expect(open).toThrow(/has expired on .*; put another one into/);
    await put();
    for (let i = 0; i < 3; i++) {
      nowMs += 1000;
      credentials.context();
    }
    expect(credentials.fingerprint).toBe(first.fingerprint);
    expect(warnings[0]).toContain("has expired");
  });

  test("with a key that every user can read are warned of", async () => {
    await put();
    chmodSync(files.key, 0o644);
    open();
    expect(warnings).toEqual([
      `every user of this machine can read the key ${files.key}; run: chmod 600 ${files.key}`,
    ]);
  });
});

test("a key that a node has made for itself and that is damaged is told as that, with what to do", async () => {
  const path = scratch.file("node-tls.pem", "damaged");
  const opened = openSecurity(parseAddress("0.0.0.0:7700"), {
    stateFolder: scratch.path,
    warn: () => {},
  });
  await expect(opened).rejects.toBeInstanceOf(EnvironmentError);
  await expect(opened).rejects.toThrow(
    `the key and certificate that this node has made cannot be used: there is no certificate in ${path}; remove ${path}, and it makes new ones`,
  );
});
