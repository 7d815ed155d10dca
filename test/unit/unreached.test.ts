/** What a client is told where no connection comes about. */
import { afterEach, expect, test } from "bun:test";
import { EnvironmentError } from "../../src/base/errors.ts";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { notReached } from "../../src/client/node/failures.ts";
import { whyWithheld } from "../../src/control/dial-socket.ts";
import { parseAddress } from "../../src/control/address.ts";

const before = process.env["RFAAS_CA"];
afterEach(() => {
  if (before === undefined) delete process.env["RFAAS_CA"];
  else process.env["RFAAS_CA"] = before;
});

const refusedAt = (text: string, code = "ECONNREFUSED"): string =>
  notReached(parseAddress(text), Object.assign(new Error("refused"), { code })).message;

// The runtime gives both the same code.
test("a machine that refuses may be one to which no way leads, and its node must serve others", () => {
  expect(refusedAt("10.0.0.9:7700")).toBe(
    "no node answers at 10.0.0.9:7700 (no process listens there, or no way leads there (ECONNREFUSED)); check the address, and start one there with: rfaas serve --listen 10.0.0.9:7700 --allow-remote",
  );
  expect(refusedAt("127.0.0.1:7700")).toBe(
    "no node answers at 127.0.0.1:7700 (no process listens there (ECONNREFUSED)); start one with: rfaas serve --listen 127.0.0.1:7700",
  );
  expect(refusedAt("/run/node.sock")).toBe(
    "no node answers at /run/node.sock (no process listens there (ECONNREFUSED)); start one with: rfaas serve --listen /run/node.sock",
  );
});

test("an address of one link is told what it lacks", () => {
  expect(refusedAt("[fe80::1]:7700", "EINVAL")).toBe(
    "no node answers at [fe80::1]:7700 (an address of one link needs the name of the interface, as in [fe80::1%eth0]:7700); check the address",
  );
});

test("a token that is withheld in clear is sent when neither side is insecure, since a node that is has no TLS", () => {
  expect(whyWithheld({ by: "nothing" }, "node", "10.0.0.9:7700")).toBe(
    "no token was sent, as the connection is in clear; let the node serve without --insecure, and connect without it",
  );
});

test("a CA that cannot be read is no manager that does not answer", async () => {
  process.env["RFAAS_CA"] = "/no/such/ca.pem";
  const attempt = ManagerSubscription.connect("192.0.2.1:7800");
  await expect(attempt).rejects.toBeInstanceOf(EnvironmentError);
  await expect(attempt).rejects.toThrow(/^RFAAS_CA: \/no\/such\/ca\.pem cannot be read: /);
});
