"""What other programs read: Prometheus, MQTT, Modbus TCP."""
