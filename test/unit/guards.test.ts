/** Which guards a room holds by which of its layers, and what is said of those that a kernel lacks. */
import { expect, mock, test } from "bun:test";
import { LAYERS, type Layer } from "../../ffi/sandbox.ts";
import { GUARDS, type Guard } from "../../src/executor/sandbox/driver.ts";
import { guardingOf } from "../../src/executor/sandbox/guarding.ts";
import { roomFindings } from "../../src/executor/sandbox/process/findings.ts";
import { WOULD_HOLD, guardsOf } from "../../src/executor/sandbox/process/guards.ts";

const room = (landlockAbi: number, ...without: Layer[]) => ({
  landlockAbi,
  layers: new Set(LAYERS.filter((layer) => !without.includes(layer))),
});
const missing = (report: ReturnType<typeof room>): Guard[] => {
  const held = guardsOf(report);
  return GUARDS.filter((guard) => !held.has(guard));
};

test("a whole room holds all guards, and so does one of Linux 6.1, which has fewer layers", () => {
  expect(missing(room(7))).toEqual([]);
  expect(missing(room(2, "ports", "scopes"))).toEqual([]);
});

test("without a namespace Landlock holds other processes, with the seal where it is old", () => {
  const without = room(7, "processes", "user", "ipc");
  expect(guardsOf(without).get("processes")).toBe("Landlock (ABI 7), seccomp");
  const old = room(2, "processes", "user", "ipc", "scopes", "ports");
  expect(guardsOf(old).get("processes")).toBe("Landlock (ABI 2), seccomp");
  expect(missing(old)).toEqual([]);
  // Programs have children to signal, which the seal cannot tell from others.
  expect(guardsOf(old, { processes: true }).has("processes")).toBe(false);
  for (const report of [without, room(2, "scopes", "ports")])
    expect(guardsOf(report, { processes: true }).has("processes")).toBe(true);
});

test("a guard that no layer holds is missing, and what would hold it is named", () => {
  const open: [Guard[], ...Layer[]][] = [
    [["files"], "files", "ports", "scopes"],
    [["sockets", "programs"], "calls", "ports"],
    [["files", "processes"], "files", "ports", "scopes", "processes"],
  ];
  for (const [guards, ...without] of open) {
    expect(missing(room(0, ...without))).toEqual(guards);
    for (const guard of guards) expect(WOULD_HOLD[guard]).toBeTruthy();
  }
});

test("doctor says of each feature that is missing how to get it, and that the others are there", () => {
  expect(roomFindings(room(7)).map(({ state }) => state)).toEqual(["ok", "ok", "ok"]);
  const none = roomFindings({ landlockAbi: 0, layers: new Set() });
  expect(none.map(({ name }) => name)).toEqual(["Landlock", "namespaces", "seccomp"]);
  for (const { state, fix } of none) expect([state, fix]).toEqual(["off", expect.any(String)]);
  // Old rules with a namespace are enough, and without are not.
  expect(roomFindings(room(2, "ports", "scopes"))[0]!.state).toBe("ok");
  expect(roomFindings(room(2, "ports", "scopes", "processes"))[0]!.fix).toContain("6.12");
});

test("memory is not guarded where leases have sockets and the kernel does not tell what these hold", () => {
  const driver = { guards: () => guardsOf(room(7)) };
  const lack = { found: "no unix_diag", fix: "modprobe -a unix_diag" };
  for (const freedoms of [{ network: true }, { processes: true }]) {
    const { held, missing, remedies } = guardingOf(driver, freedoms, () => lack);
    expect(missing).toEqual(["memory"]);
    expect(held.size).toBe(GUARDS.length - 1);
    expect(remedies.join()).toContain(lack.fix);
    expect(guardingOf(driver, freedoms, () => undefined).missing).toEqual([]);
  }
  const asked = mock(() => lack);
  expect(guardingOf(driver, {}, asked).missing).toEqual([]);
  expect(asked).not.toHaveBeenCalled();
});
