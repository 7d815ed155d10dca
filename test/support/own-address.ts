/** An address of this machine that is not loopback, which connections from here reach as those from elsewhere would. */
import { networkInterfaces } from "node:os";

/** IPv4; undefined where the machine has none. */
export function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.find(({ family, internal }) => family === "IPv4" && !internal)?.address;
}
