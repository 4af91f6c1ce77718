//! Proxies in the configuration: whose word for a client's address is taken.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

use super::ConfigError;

/// The proxies and load balancers in front of the server, and how they say who their clients are.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Their networks. What they say of a client is believed, and their connections need no TLS.
    #[serde(deserialize_with = "networks", serialize_with = "written")]
    #[schemars(with = "Vec<String>")]
    pub trusted: Vec<IpNet>,
    /// Whether each TCP connection from them begins with a PROXY header.
    pub proxy_protocol: bool,
    /// The one header of HTTP requests that is believed.
    pub forwarded: Forwarded,
}

/// A header with the addresses that a request has come through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarded {
    /// None is looked at.
    #[default]
    None,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
}

impl ProxyConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, rule: &str| {
            let (key, rule) = (format!("proxy.{key}"), rule.to_owned());
            Err(ConfigError::Value { key, rule })
        };
        if self.trusted.iter().any(|network| network.prefix_len() == 0) {
            let rule = "trusts every address, so that everybody could say who they are: name the \
                        networks of the proxies";
            return refuse("trusted", rule);
        }
        if self.trusted.is_empty() && self.proxy_protocol {
            return refuse("proxy_protocol", "is for proxies, of which proxy.trusted names none");
        }
        if self.trusted.is_empty() && self.forwarded != Forwarded::None {
            return refuse("forwarded", "is for proxies, of which proxy.trusted names none");
        }
        Ok(())
    }
}

/// Networks, and single addresses, as they are written.
fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let written = Vec::<String>::deserialize(from)?;
    let parse = |text: &String| {
        let network = text.parse::<IpNet>().ok();
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = network.or_else(address).ok_or_else(|| {
            D::Error::custom(format!("'{text}' is no network: write it as 10.0.0.0/8 or ::1/128"))
        })?;
        // Addresses are compared in their IPv4 form.
        let is_mapped = |network: &IpNet| matches!(network.addr(), IpAddr::V6(at) if at.to_ipv4_mapped().is_some());
        if is_mapped(&network) {
            let rule = format!("'{text}': write it as a network of IPv4, without ::ffff:");
            return Err(D::Error::custom(rule));
        }
        Ok(network.trunc())
    };
    written.iter().map(parse).collect()
}

fn written<S: Serializer>(networks: &[IpNet], into: S) -> Result<S::Ok, S::Error> {
    into.collect_seq(networks.iter().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn check(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn networks_are_networks_and_not_everybody() {
        let config =
            check("[proxy]\ntrusted = [\"10.1.2.3/8\", \"192.0.2.7\", \"::1\"]\n").unwrap();
        let shown: Vec<String> = config.proxy.trusted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "::1/128"]);
        for (text, says) in [
            ("trusted = [\"10.0.0.0/33\"]", "is no network"),
            ("trusted = [\"proxy.example\"]", "is no network"),
            ("trusted = [\"::ffff:10.0.0.0/104\"]", "without ::ffff:"),
            ("trusted = [\"0.0.0.0/0\"]", "trusts every address"),
            ("trusted = [\"::/0\"]", "trusts every address"),
            ("proxy_protocol = true", "proxy.trusted names none"),
            ("forwarded = \"forwarded\"", "proxy.trusted names none"),
            ("forwarded = \"both\"", "unknown variant"),
        ] {
            let said = check(&format!("[proxy]\n{text}\n")).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }

    #[test]
    fn who_is_behind_a_proxy_needs_an_account() {
        let behind = "[proxy]\ntrusted = [\"127.0.0.1\"]\nforwarded = \"x-forwarded-for\"\n";
        let open = check(behind).unwrap().check_exposure().unwrap_err().to_string();
        assert!(open.contains("proxy.trusted") && open.contains("[auth]"), "{open}");
        let said = check(&format!("insecure = true\n{behind}")).unwrap();
        said.check_exposure().unwrap();
        let accounts = check(&format!("{behind}[auth]\nanonymous_roles = []\n")).unwrap();
        accounts.check_exposure().unwrap();
    }
}
