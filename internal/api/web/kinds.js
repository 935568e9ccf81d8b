// What the types of services mean to people, and what a device may be.

const types = {
  "_airplay._tcp": ["AirPlay", "screen"], "_raop._tcp": ["AirPlay audio", "speaker"], "_airport._tcp": ["AirPort", "router"],
  "_googlecast._tcp": ["Google Cast", "screen"], "_spotify-connect._tcp": ["Spotify Connect", "speaker"], "_sonos._tcp": ["Sonos", "speaker"],
  "_ipp._tcp": ["Printing (IPP)", "printer"], "_ipps._tcp": ["Printing (IPP, TLS)", "printer"], "_printer._tcp": ["Printing (LPD)", "printer"],
  "_pdl-datastream._tcp": ["Printing (raw)", "printer"], "_scanner._tcp": ["Scanning", "printer"], "_uscan._tcp": ["Scanning (eSCL)", "printer"], "_uscans._tcp": ["Scanning (eSCL, TLS)", "printer"],
  "_http._tcp": ["Web page", "web"], "_https._tcp": ["Web page (TLS)", "web"], "_http-alt._tcp": ["Web page", "web"],
  "_ssh._tcp": ["Secure shell", "terminal"], "_sftp-ssh._tcp": ["SFTP", "folder"], "_telnet._tcp": ["Telnet", "terminal"], "_rfb._tcp": ["Screen sharing (VNC)", "computer"], "_rdp._tcp": ["Remote desktop", "computer"],
  "_smb._tcp": ["File sharing (SMB)", "folder"], "_afpovertcp._tcp": ["File sharing (AFP)", "folder"], "_nfs._tcp": ["File sharing (NFS)", "folder"], "_ftp._tcp": ["FTP", "folder"], "_webdav._tcp": ["WebDAV", "folder"], "_adisk._tcp": ["Time Machine", "server"],
  "_device-info._tcp": ["Device information", "device"], "_workstation._tcp": ["Workstation", "computer"], "_companion-link._tcp": ["Apple companion", "phone"], "_apple-mobdev2._tcp": ["Apple mobile device", "phone"], "_sleep-proxy._udp": ["Sleep proxy", "server"],
  "_hap._tcp": ["HomeKit", "plug"], "_homekit._tcp": ["HomeKit", "plug"], "_matter._tcp": ["Matter", "plug"], "_matterc._udp": ["Matter (to be set up)", "plug"], "_hue._tcp": ["Hue bridge", "light"], "_esphomelib._tcp": ["ESPHome", "plug"], "_shelly._tcp": ["Shelly", "plug"],
  "_axis-video._tcp": ["Camera", "camera"], "_rtsp._tcp": ["Video stream", "camera"], "_onvif._tcp": ["Camera (ONVIF)", "camera"],
  "_mqtt._tcp": ["MQTT broker", "server"], "_secure-mqtt._tcp": ["MQTT broker (TLS)", "server"], "_home-assistant._tcp": ["Home Assistant", "server"], "_plexmediasvr._tcp": ["Plex", "server"], "_daap._tcp": ["Music library", "speaker"],
  "_nmos-node._tcp": ["NMOS node", "screen"], "_nmos-register._tcp": ["NMOS registry", "server"], "_nmos-query._tcp": ["NMOS query", "server"], "_nmos-netctrl._tcp": ["NMOS network control", "router"],
  "_syncthing._tcp": ["Syncthing", "folder"], "syncthing": ["Syncthing", "folder"], "_domain._udp": ["DNS", "router"], "_ntp._udp": ["Time", "server"], "_ldap._tcp": ["Directory (LDAP)", "server"],
};

// typeName is a type for people, or undefined: then the type itself is shown,
// which is text from the network.
export function typeName(type) { return Object.hasOwn(types, type) ? types[type][0] : undefined; }

export function typeGlyph(type) { return Object.hasOwn(types, type) ? types[type][1] : "device"; }

// The more a type says about what a device is, the earlier it stands.
const telling = ["printer", "camera", "light", "plug", "speaker", "screen", "router", "server", "phone", "folder", "computer", "terminal"];

// tellingOf puts types in the order of what they say about a device.
export function tellingOf(type) {
  const i = telling.indexOf(typeGlyph(type));
  return i < 0 ? telling.length + (Object.hasOwn(types, type) ? 0 : 1) : i;
}

const words = [
  [/print|laserjet|officejet|brother|epson/, "printer"], [/camera|doorbell|ipcam/, "camera"], [/router|gateway|openwrt|fritz|unifi|access.?point|switch/, "router"],
  [/nas\b|synology|qnap|truenas|server/, "server"], [/iphone|android|pixel|galaxy|phone/, "phone"], [/\btv\b|television|chromecast|display/, "screen"],
  [/speaker|sonos|homepod|echo/, "speaker"], [/bulb|lamp|light|hue/, "light"], [/laptop|macbook|thinkpad|desktop|workstation|imac/, "computer"], [/thermostat|sensor|plug|shelly|tasmota/, "plug"],
];

const classes = {
  phone: "phone", tablet: "phone", watch: "phone", computer: "computer", server: "server", "virtual-machine": "server", nas: "server",
  router: "router", switch: "router", "access-point": "router", firewall: "router", modem: "router", "voip-phone": "phone",
  printer: "printer", camera: "camera", tv: "screen", "media-player": "screen", speaker: "speaker", "game-console": "screen",
  hub: "plug", light: "light", plug: "plug", sensor: "plug", thermostat: "plug", lock: "plug", vacuum: "plug", appliance: "plug", energy: "plug", iot: "plug",
  "media-node": "screen", controller: "server", clock: "server",
};

// deviceGlyph shows what a device is by its class, or else guesses by what it offers,
// then by its name.
export function deviceGlyph(d) {
  if (d.class_confidence >= 0.5 && Object.hasOwn(classes, d.class)) return classes[d.class];
  let best = telling.length;
  for (const s of d.services.values()) {
    const i = telling.indexOf(typeGlyph(s.type));
    if (i >= 0 && i < best) best = i;
  }
  // What is only known to be smart may be anything: the name may say more.
  if (best < telling.indexOf("server") && telling[best] !== "plug") return telling[best];
  const name = (d.names.join(" ") + " " + d.vendor).toLowerCase();
  for (const [pattern, kind] of words) if (pattern.test(name)) return kind;
  if (best === telling.indexOf("folder")) return "server";
  if (best === telling.indexOf("terminal")) return "computer";
  return telling[best] ?? "device";
}

export const stateWords = { reachable: "Reachable", unreachable: "Away", unknown: "Unknown" };
