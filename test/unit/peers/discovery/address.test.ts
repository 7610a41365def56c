import { expect, test } from "vitest";
import { addressOfUrl, formatAddress, parseAddress } from "../../../../src/peers/discovery/address.js";

test.each([
  ["http://node1:7070", "node1:7070"],
  ["http://Node1:7070/", "node1:7070"],
  ["https://10.0.0.1:7070", "10.0.0.1:7070"],
  ["http://[2001:db8:0:0::1]:7070", "[2001:db8::1]:7070"],
  ["http://node1", "node1:80"],
  ["https://node1", "node1:443"],
])("the address of %s is %s, which reads as it is written", (url, address) => {
  expect(formatAddress(addressOfUrl(url)!)).toBe(address);
  expect(parseAddress(address)).toEqual(addressOfUrl(url));
});

test.each([
  "node1:7070",
  "ftp://node1:7070",
  "http://node1:7070/path",
  "http://user:pw@node1:7070",
  "http://node1:7070?x",
  "http://:7070",
  "http://a b:1",
])("%s is no address of a peer", (url) => {
  expect(addressOfUrl(url)).toBeUndefined();
});

test("a link-local address keeps its zone", () => {
  expect(parseAddress("[FE80::1%eth0]:7070")).toEqual({ host: "fe80::1%eth0", port: 7070 });
});
