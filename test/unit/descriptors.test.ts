import { expect, test } from "bun:test";
import { fstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import {
  MailSender,
  Mailbox,
  closeDescriptor,
  mailboxToInherit,
  notifyPair,
} from "../../ffi/descriptors.ts";

const NONCE = new Uint8Array(16).fill(7);
const OTHER = new Uint8Array(16).fill(8);
/** More than any system lets a mailbox hold. */
const MANY = 1000;

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;

const failureOf = (act: () => void): string => {
  try {
    act();
    return "none";
  } catch (error) {
    return (error as Error).message;
  }
};

/** Sends until the mailbox is full, or the system says no. Returns how often it did not, and what it said. */
function fill(send: () => void): { sent: number; failure: string } {
  for (let sent = 0; ; sent++) {
    const failure = failureOf(send);
    if (failure !== "none" || sent === MANY) return { sent, failure };
  }
}

test("descriptors come to a named mailbox from the sender that it names, and from no other", () => {
  const before = openDescriptors();
  const [node, stranger] = [new MailSender(), new MailSender()];
  const { mailbox, name } = Mailbox.named(node.name);
  const pair = notifyPair();
  expect(fill(() => stranger.send(name, OTHER, [pair[1]]))).toEqual({
    sent: 0,
    failure: expect.stringContaining("EPERM"),
  });
  node.send(name, NONCE, pair);
  const received = mailbox.receive(NONCE)!;
  expect(received.map((fd) => fstatSync(fd).ino)).toEqual(pair.map((fd) => fstatSync(fd).ino));
  expect(mailbox.receive(NONCE)).toBeNull();
  mailbox.close();
  for (const fd of [...received, ...pair]) closeDescriptor(fd);
  for (const sender of [node, stranger]) sender.close();
  expect(openDescriptors()).toBe(before);
});

test("a mailbox that names no sender is filled by any, which is what naming one prevents", () => {
  const [node, stranger] = [new MailSender(), new MailSender()];
  const { mailbox, name } = Mailbox.named();
  const pair = notifyPair();
  const { sent } = fill(() => stranger.send(name, OTHER, [pair[1]]));
  expect(sent).toBeGreaterThan(0);
  expect(failureOf(() => node.send(name, NONCE, pair))).toContain("EAGAIN");
  expect(mailbox.receive(NONCE)).toBeNull();
  mailbox.close();
  for (const fd of pair) closeDescriptor(fd);
  for (const sender of [node, stranger]) sender.close();
});

test("what sends to mailboxes by name receives nothing itself", () => {
  const [node, stranger] = [new MailSender(), new MailSender()];
  expect(failureOf(() => stranger.send(node.name, NONCE, [0]))).toContain("EPIPE");
  node.close();
  expect(failureOf(() => node.send(stranger.name, NONCE, [0]))).toContain("EBADF");
  stranger.close();
});

test("a mailbox with a slot has no name, drops what it did not wait for, and is full for a time", () => {
  const before = openDescriptors();
  const { mailboxFd, slot } = mailboxToInherit();
  const inode = /\d+/.exec(readlinkSync(`/proc/self/fd/${mailboxFd}`))![0];
  const row = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .find((fields) => fields[6] === inode)!;
  expect(row).toHaveLength(7);
  const mailbox = Mailbox.inherited(mailboxFd);
  const pair = notifyPair();
  const { sent, failure } = fill(() => slot.send(OTHER, pair));
  expect(sent).toBeGreaterThan(0);
  expect(failure).toContain("EAGAIN");
  expect(mailbox.receive(NONCE)).toBeNull();
  slot.send(NONCE, pair);
  const received = mailbox.receive(NONCE)!;
  expect(received).toHaveLength(2);
  mailbox.close();
  expect(failureOf(() => slot.send(NONCE, pair))).toContain("EPIPE");
  slot.close();
  slot.close();
  for (const fd of [...received, ...pair]) closeDescriptor(fd);
  expect(openDescriptors()).toBe(before);
});
