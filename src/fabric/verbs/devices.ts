/**
 * The RDMA devices of this machine, as the kernel describes them under `/sys/class/infiniband`, and which of their addresses
 * to use. Nothing is loaded and nothing has to be configured: `rfaas doctor` and the choice of a fabric work without RDMA
 * libraries. A connection manager knows addresses, not GIDs, so that a GID counts here when an IP address selects it.
 */
import { readFileSync, readdirSync } from "node:fs";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { join } from "node:path";
import { FabricUnavailable } from "../../base/errors.ts";

/** An entry of a port's GID table that is not empty. */
export interface Gid {
  index: number;
  /** All 32 digits, as the kernel writes them: `0000:0000:0000:0000:0000:ffff:0a4d:0001`. */
  gid: string;
  type: "IB" | "RoCE v1" | "RoCE v2";
  /** The network interface it belongs to; of an InfiniBand port, the IPoIB interface. */
  netdev: string | null;
  /**
   * What `rdma_cm` binds to in order to use this GID: `10.77.0.1`, `2001:db8::1`, `fe80::1%eth0`; null where nothing does.
   * Null for all of RoCE v1: the RoCE v2 GID of the same interface has the same address, and the kernel takes that one.
   * Null for a link-local GID, too, when the interface does not have that address now.
   */
  address: string | null;
}

export interface Port {
  /** From 1. */
  number: number;
  /** `ACTIVE`, `DOWN`, `INIT`, `ARMED`, or what else the kernel says; `UNKNOWN` when it says nothing. */
  state: string;
  /** Such as `LinkUp`, `Polling` or `Disabled`. */
  physicalState: string;
  linkLayer: "InfiniBand" | "Ethernet";
  /** Such as `100 Gb/sec (4X EDR)`. */
  rate: string;
  /** In the order of their indices. */
  gids: Gid[];
}

export interface RdmaDevice {
  name: string;
  /** The network interfaces of the same card; those of GIDs, such as VLANs, follow. */
  netdevs: string[];
  ports: Port[];
}

/** The user's choice of a device, port and GID; what it leaves out is chosen automatically. */
export interface DeviceChoice {
  device?: string | undefined;
  ibPort?: number | undefined;
  gidIndex?: number | undefined;
}

/** A GID that a connection can be bound to. */
export type UsableGid = Gid & { address: string };

export interface ChosenGid {
  device: string;
  port: number;
  gid: UsableGid;
}

/** As {@link networkInterfaces} gives them. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** The RDMA devices, in the order of their names; none when the machine has none. Never throws. */
export function rdmaDevices(
  sysfs = "/sys",
  interfaces: Interfaces = networkInterfaces(),
): RdmaDevice[] {
  const folder = join(sysfs, "class", "infiniband");
  return entries(folder).map((name) => readDevice(join(folder, name), name, interfaces));
}

/**
 * The GID to use: of the first active port that has one, the best. IPv4 is best, then global IPv6, then link-local IPv6.
 *
 * @throws {FabricUnavailable} when nothing fits the choice: no device, no such device or port, a port that is not active, no
 * such GID, or no GID with an address.
 */
export function chooseGid(devices: readonly RdmaDevice[], choice: DeviceChoice = {}): ChosenGid {
  const ports = activePorts(devices, choice);
  for (const { device, port } of ports) {
    const gid = usableGids(port, choice.gidIndex).sort(byWorth)[0];
    if (gid) return { device: device.name, port: port.number, gid };
  }
  throw noGid(ports, choice.gidIndex);
}

/**
 * The addresses that a node may be reached at, best first, each once: of all active ports, or of the one GID when the choice
 * names an index.
 *
 * @throws {FabricUnavailable} when there is none, as {@link chooseGid} does.
 */
export function addressesOf(devices: readonly RdmaDevice[], choice: DeviceChoice = {}): string[] {
  const chosen = chooseGid(devices, choice);
  if (choice.gidIndex !== undefined) return [chosen.gid.address];
  const gids = activePorts(devices, choice).flatMap(({ port }) => usableGids(port));
  return [...new Set(gids.sort(byWorth).map(({ address }) => address))];
}

// Reading.

const FILLED_GID = /^(?=.*[1-9a-f])[0-9a-f]{4}(:[0-9a-f]{4}){7}$/i;

/** A network interface, and the GID that is in its hardware address if it is an IPoIB interface. */
interface Netdev {
  name: string;
  gid: string | undefined;
}

function readDevice(folder: string, name: string, interfaces: Interfaces): RdmaDevice {
  const net = join(folder, "device", "net");
  const netdevs = entries(net).map((netdev) => ({
    name: netdev,
    gid: gidOfHardware(attribute(join(net, netdev, "address"))),
  }));
  const ports = entries(join(folder, "ports")).map((number) =>
    readPort(join(folder, "ports", number), Number(number), netdevs, interfaces),
  );
  // A software device has no card: SoftRoCE names its interface in `parent`.
  const parent = attribute(join(folder, "parent"));
  const ofGids = ports.flatMap(({ gids }) => gids.map(({ netdev }) => netdev));
  const names = [...netdevs.map((netdev) => netdev.name), parent, ...ofGids];
  return { name, netdevs: [...new Set(names.filter((netdev) => netdev !== null))], ports };
}

function readPort(
  folder: string,
  number: number,
  netdevs: readonly Netdev[],
  interfaces: Interfaces,
): Port {
  const linkLayer =
    attribute(join(folder, "link_layer")) === "InfiniBand" ? "InfiniBand" : "Ethernet";
  const gids = entries(join(folder, "gids")).flatMap((index) => {
    const gid = attribute(join(folder, "gids", index));
    if (gid === null || !FILLED_GID.test(gid)) return [];
    const read = (of: string) => attribute(join(folder, "gid_attrs", of, index));
    return linkLayer === "InfiniBand"
      ? infinibandGid(Number(index), gid, netdevs, interfaces)
      : ethernetGid(Number(index), gid, read("types"), read("ndevs"), interfaces);
  });
  return {
    number,
    state: named(attribute(join(folder, "state"))),
    physicalState: named(attribute(join(folder, "phys_state"))),
    linkLayer,
    rate: attribute(join(folder, "rate")) ?? "unknown",
    gids,
  };
}

/** The address is that of an IPoIB interface whose hardware address carries the GID: this is how `rdma_cm` finds it too. */
function infinibandGid(
  index: number,
  gid: string,
  netdevs: readonly Netdev[],
  interfaces: Interfaces,
): Gid {
  const over = netdevs.filter((netdev) => netdev.gid === gid);
  const best = over
    .flatMap(({ name }) => addressesOn(name, interfaces).map((address) => ({ name, address })))
    .sort(byWorth)[0];
  const netdev = best?.name ?? over[0]?.name ?? null;
  return { index, gid, type: "IB", netdev, address: best?.address ?? null };
}

/** The kernel calls both InfiniBand and RoCE v1 `IB/RoCE v1`; kernels that do not tell the type know no RoCE v2. */
function ethernetGid(
  index: number,
  gid: string,
  type: string | null,
  netdev: string | null,
  interfaces: Interfaces,
): Gid {
  if (type !== "RoCE v2") return { index, gid, type: "RoCE v1", netdev, address: null };
  const ip = ipOf(gid);
  if (!isLinkLocal(ip)) return { index, gid, type, netdev, address: ip };
  // The kernel makes such a GID of the hardware address, whether or not the interface has the IP address that goes with it.
  const address = `${ip}%${netdev}`;
  const bindable = netdev !== null && addressesOn(netdev, interfaces).includes(address);
  return { index, gid, type, netdev, address: bindable ? address : null };
}

/** Names in a folder, `mlx5_2` before `mlx5_10`; none when it cannot be read. */
function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  } catch {
    return [];
  }
}

/** One value, or null when the kernel has none to give: reading the type of an empty GID, for one, fails with EINVAL. */
function attribute(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim() || null;
  } catch {
    return null;
  }
}

/** `ACTIVE` of `4: ACTIVE`. */
function named(value: string | null): string {
  return value?.replace(/^\d+:\s*/, "") ?? "UNKNOWN";
}

// Addresses.

/** `10.77.0.1` of an IPv4-mapped GID, else the GID as a short IPv6 address. */
function ipOf(gid: string): string {
  const words = gid.split(":").map((word) => Number.parseInt(word, 16));
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff)
    return words
      .slice(6)
      .flatMap((word) => [word >> 8, word & 0xff])
      .join(".");
  return shortened(gid);
}

/** `fe80::1` of `fe80:0000:0000:0000:0000:0000:0000:0001`. */
function shortened(ipv6: string): string {
  return new URL(`http://[${ipv6}]`).hostname.slice(1, -1);
}

/** The last 16 of the 20 bytes of an IPoIB hardware address, written as the kernel writes a GID. */
function gidOfHardware(address: string | null): string | undefined {
  const bytes = address?.toLowerCase().split(":") ?? [];
  if (bytes.length !== 20) return undefined;
  return Array.from({ length: 8 }, (_, i) => bytes[4 + 2 * i]! + bytes[5 + 2 * i]!).join(":");
}

/** The addresses of an interface; link-local ones with their scope. */
function addressesOn(netdev: string, interfaces: Interfaces): string[] {
  return (interfaces[netdev] ?? []).map(({ address }) => {
    const plain = address.replace(/%.*$/, "");
    if (!plain.includes(":")) return plain;
    return isLinkLocal(plain) ? `${shortened(plain)}%${netdev}` : shortened(plain);
  });
}

function isLinkLocal(address: string): boolean {
  return /^fe[89ab].:/i.test(address);
}

/** IPv4 first, then global IPv6, then link-local: the order in which others are likely to reach the address. */
function byWorth(a: { address: string }, b: { address: string }): number {
  const rank = ({ address }: { address: string }) =>
    !address.includes(":") ? 0 : isLinkLocal(address) ? 2 : 1;
  return rank(a) - rank(b);
}

// Choosing.

interface PortOf {
  device: RdmaDevice;
  port: Port;
}

/** At least one, all of them active. */
function activePorts(devices: readonly RdmaDevice[], choice: DeviceChoice): PortOf[] {
  const wanted = devices.filter(({ name }) => (choice.device ?? name) === name);
  if (wanted.length === 0) throw noDevice(devices, choice.device);
  const all = wanted.flatMap((device) => device.ports.map((port) => ({ device, port })));
  const ports = all.filter(({ port }) => (choice.ibPort ?? port.number) === port.number);
  if (ports.length === 0) throw noPort(wanted, choice);
  const active = ports.filter(({ port }) => port.state === "ACTIVE");
  if (active.length === 0) throw notActive(ports);
  return active;
}

function usableGids(port: Port, index?: number): UsableGid[] {
  return port.gids.filter(
    (gid): gid is UsableGid => gid.address !== null && (index ?? gid.index) === gid.index,
  );
}

/** For messages. */
function title({ device, port }: PortOf): string {
  return `${device.name} port ${port.number}`;
}

/** Where an error happened, when it is one port. */
function where(ports: readonly PortOf[]): { device?: string; port?: number } {
  const [only, ...others] = ports;
  return only && others.length === 0 ? { device: only.device.name, port: only.port.number } : {};
}

function netdevOf({ device, port }: PortOf): string | undefined {
  const ofGid = port.gids.find(({ netdev }) => netdev !== null)?.netdev;
  return ofGid ?? device.netdevs[port.number - 1] ?? device.netdevs[0];
}

function noDevice(devices: readonly RdmaDevice[], device: string | undefined): FabricUnavailable {
  if (devices.length === 0)
    return new FabricUnavailable(
      "this machine has no RDMA device; load the driver of its card, or make a software one: rdma link add rxe0 type rxe netdev eth0",
      { device },
    );
  return new FabricUnavailable(
    `there is no RDMA device ${device}; choose ${oneOf(devices.map(({ name }) => name))}`,
    { device },
  );
}

function noPort(devices: readonly RdmaDevice[], { ibPort }: DeviceChoice): FabricUnavailable {
  const ports = devices.flatMap((device) => device.ports.map((port) => title({ device, port })));
  const names = oneOf(devices.map(({ name }) => name));
  const data = { device: devices.length === 1 ? devices[0]?.name : undefined, port: ibPort };
  if (ports.length === 0)
    return new FabricUnavailable(
      `the kernel shows no port of ${names}; load its driver again or choose another device`,
      data,
    );
  return new FabricUnavailable(
    `there is no port ${ibPort} of ${names}; choose ${oneOf(ports)}`,
    data,
  );
}

function notActive(ports: readonly PortOf[]): FabricUnavailable {
  const states = ports.map(
    (of) => `${title(of)} is ${of.port.state} (${of.port.physicalState}), not ACTIVE`,
  );
  return new FabricUnavailable(`${states.join(", ")}; ${bringUp(ports[0]!)}`, where(ports));
}

/** What to do about a port that is not active. */
function bringUp(of: PortOf): string {
  if (of.port.linkLayer === "Ethernet")
    return `bring the link up: ip link set ${netdevOf(of) ?? "INTERFACE"} up`;
  // An InfiniBand link that works waits in these states until a subnet manager has given it an address.
  if (of.port.state === "INIT" || of.port.state === "ARMED")
    return "start a subnet manager in its network: systemctl start opensm";
  return "check its cable and the port of its switch";
}

function noGid(ports: readonly PortOf[], index: number | undefined): FabricUnavailable {
  const usable = ports.flatMap((of) =>
    usableGids(of.port).map(({ index, address }) => ({ index, address, title: title(of) })),
  );
  const first = ports[0]!;
  const titles = oneOf(ports.map(title));
  if (index === undefined || usable.length === 0)
    return new FabricUnavailable(
      `no IP address selects a GID of ${titles}; ${giveAddress(first)}`,
      where(ports),
    );
  const found = first.port.gids.find((gid) => gid.index === index);
  const problem = found
    ? `GID ${index} of ${title(first)} (${found.type}) has no IP address that selects it`
    : `there is no GID ${index} of ${titles}`;
  const choices = usable
    .sort(byWorth)
    .map((gid) => `${gid.index} (${gid.address}${ports.length > 1 ? `, ${gid.title}` : ""})`);
  return new FabricUnavailable(`${problem}; choose GID ${oneOf(choices)}`, where(ports));
}

/** What to do about a port without a usable GID. */
function giveAddress(of: PortOf): string {
  const { linkLayer, gids } = of.port;
  const netdev = netdevOf(of);
  const hasAddress = gids.some(({ gid }) => !isLinkLocal(gid));
  if (linkLayer === "Ethernet" && hasAddress && gids.every(({ type }) => type === "RoCE v1"))
    return "it speaks RoCE v1 only: choose a device that speaks RoCE v2";
  const add = `give the interface an address: ip addr add ADDRESS/PREFIX dev ${netdev ?? (linkLayer === "InfiniBand" ? "ib0" : "INTERFACE")}`;
  return linkLayer === "InfiniBand" && netdev === undefined
    ? `make its network interface: modprobe ib_ipoib, then ${add}`
    : add;
}

/** `a`, `a or b`, `a, b or c`. */
function oneOf(names: readonly string[]): string {
  const last = names.at(-1) ?? "";
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} or ${last}` : last;
}
